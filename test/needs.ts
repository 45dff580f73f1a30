import { beforeEach } from "vitest"

/** Skips each test of the suite around it unless the host has what they need; the reason is among the last lines of `npm test`. */
export const needs = (there: boolean, reason: string): void => {
  beforeEach(({ skip }) => skip(!there, reason))
}
