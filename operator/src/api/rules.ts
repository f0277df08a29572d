/** CEL rules that several kinds have. */
import type { Rule } from "./schema.ts";

/** A name of a field as CEL writes it. */
export const celName = (name: string): string =>
  name
    .replaceAll("__", "__underscores__")
    .replaceAll(".", "__dot__")
    .replaceAll("-", "__dash__")
    .replaceAll("/", "__slash__");

/** A field of an object never changes once the object is there. Belongs to the object's rules. */
export const fixed = (name: string, advice: string): Rule => {
  const [now, before] = [`self.${celName(name)}`, `oldSelf.${celName(name)}`];
  return {
    rule: `has(${now}) == has(${before}) && (!has(${now}) || ${now} == ${before})`,
    message: `${name} cannot be changed: ${advice}`,
    fieldPath: `.${name}`,
    reason: "FieldValueForbidden",
  };
};

/** A number of an object never falls. Belongs to the object's rules. */
export const neverLess = (name: string, advice: string): Rule => ({
  rule: `!has(self.${name}) || !has(oldSelf.${name}) || self.${name} >= oldSelf.${name}`,
  message: `${name} cannot be lowered: ${advice}`,
  fieldPath: `.${name}`,
  reason: "FieldValueForbidden",
});

/** A quantity of an object never falls. Belongs to the object's rules. */
export const neverSmaller = (name: string, advice: string): Rule => ({
  // A default of an object is judged before those of its fields are filled in.
  rule:
    `!has(self.${name}) || !has(oldSelf.${name}) || ` +
    `quantity(self.${name}).compareTo(quantity(oldSelf.${name})) >= 0`,
  message: `${name} cannot be lowered: ${advice}`,
  fieldPath: `.${name}`,
  reason: "FieldValueForbidden",
});

/** A flag of an object that is set stays set. Belongs to the object's rules. */
export const staysSet = (name: string, advice: string): Rule => ({
  rule: `!oldSelf.${name} || self.${name}`,
  message: `${name} cannot be taken back: ${advice}`,
  fieldPath: `.${name}`,
  reason: "FieldValueForbidden",
});

/** A field means something with one value of another field alone. Belongs to the object's rules. */
export const onlyWith = (name: string, condition: string, message: string): Rule => ({
  rule: `!has(self.${name}) || ${condition}`,
  message,
  fieldPath: `.${name}`,
  reason: "FieldValueForbidden",
});

/**
 * Names of pods and Services begin with the object's name: so it is a label of DNS, and leaves room
 * for what follows. Belongs to the rules of the whole object.
 */
export const shortName = (max: number): Rule => ({
  rule: `size(self.metadata.name) <= ${max} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')`,
  message:
    `metadata.name is the beginning of names of pods and Services: use at most ${max} characters ` +
    "of a-z, 0-9 and '-', a letter first",
});
