/**
 * The exit codes of the command, the same for every subcommand.
 *
 * **Example** (In a shell script)
 *
 * ```sh
 * vmtest run web.ts
 * case $? in
 *   0) echo passed ;;
 *   1) echo failed ;;
 *   2) echo "cannot be used" ;;
 *   130) echo interrupted ;;
 * esac
 * ```
 *
 * @since 0.1.0
 */

/** An exit code of the command. */
export type ExitCode = 0 | 1 | 2 | 130

/** The command succeeded, and every test passed. */
export const passed: ExitCode = 0

/** A test failed, or the host lacks something. */
export const failed: ExitCode = 1

/** The usage was wrong, or a script cannot be used; nothing was started. */
export const unusable: ExitCode = 2

/** SIGINT or SIGTERM ended the run, and everything that it started. */
export const interrupted: ExitCode = 130
