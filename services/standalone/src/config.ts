/**
 * Settings of the standalone server: one schema for flags, environment, file, help and reference.
 */
import { logSettings } from "@millrace/broker/node";
import type { Schema } from "@millrace/config";
import {
  admissionSettings,
  advertiseSettings,
  listenerSettings,
  loggingSettings,
} from "@millrace/server/node";

export const standaloneSchema = {
  "data-dir": {
    type: "text",
    pattern: /^.+$/s,
    hint: "a path",
    default: "./data",
    dynamic: false,
    description: "Directory of everything that is stored. Made when it is missing.",
  },
  ...listenerSettings,
  ...advertiseSettings,
  ...loggingSettings,
  ...logSettings,
  ...admissionSettings,
} as const satisfies Schema;
