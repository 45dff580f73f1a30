import { beforeEach } from "vitest"

/** Skips each test of the suite around it unless the host has what they need; the reason is among the last lines of `npm test`. */
export const needs = (there: boolean, reason: string): void => {
  beforeEach(({ skip }) => skip(!there, reason))
}

/**
 * The title of a suite or test that is skipped for a reason: `describe.skipIf(why !== undefined)(titled("bridges", why), …)`. The reason is among the
 * last lines of `npm test`. For suites whose machines must not boot to find out; elsewhere `needs` is shorter.
 */
export const titled = (title: string, why: string | undefined): string =>
  why === undefined ? title : `${title} (skipped: ${why})`
