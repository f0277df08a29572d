/** A batch boundary in a segment: the offset of the next record, and where its batch lies. */
export interface Place {
  readonly offset: number;
  readonly position: number;
}
