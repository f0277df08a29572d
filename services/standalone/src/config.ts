/**
 * Settings of the standalone server: one schema for flags, environment, file, help and reference.
 */
import { logSettings, metricsSettings } from "@millrace/broker/node";
import type { Schema } from "@millrace/config";
import {
  admissionSettings,
  advertiseSettings,
  dataDirectorySettings,
  listenerSettings,
  loggingSettings,
} from "@millrace/server/node";

export const standaloneSchema = {
  ...dataDirectorySettings,
  ...listenerSettings,
  ...advertiseSettings,
  ...loggingSettings,
  ...logSettings,
  ...metricsSettings,
  ...admissionSettings,
} as const satisfies Schema;
