/**
 * The exit codes of the command, the same for every subcommand.
 *
 * @since 0.1.0
 */

/** What the command's exit code says. */
export type ExitCode = 0 | 1 | 2 | 130

/** Everything asked for was done, and every test passed. */
export const passed: ExitCode = 0

/** A test failed, or the host cannot do what was asked. */
export const failed: ExitCode = 1

/** Wrong usage, or a script that cannot be used; nothing was started. */
export const unusable: ExitCode = 2

/** SIGINT or SIGTERM ended the run; everything it started is gone. */
export const interrupted: ExitCode = 130
