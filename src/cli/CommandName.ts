/**
 * The name of the command that this process runs, which its messages begin with.
 *
 * **Example** (A message of a command of another name)
 *
 * ```ts
 * CommandName.set("nixos-test-driver")
 * CommandName.before("c.json: does not exist") // "nixos-test-driver: c.json: does not exist"
 * ```
 *
 * @since 0.1.0
 */

let current = "vmtest"

/** From now on the command has this name. Default: `vmtest`. */
export const set = (name: string): void => {
  current = name
}

/** A message after the name of the command. */
export const before = (message: string): string => `${current}: ${message}`
