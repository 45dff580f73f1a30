/**
 * Words of shell commands, for guests and for people who paste them, and values in the options of QEMU.
 *
 * **Example** (a name with a blank)
 *
 * ```ts
 * `cat ${quote("/tmp/it's here")}` // "cat '/tmp/it'\\''s here'"
 * ```
 *
 * @since 0.1.0
 */

/** A word that a POSIX shell reads back as it is; plain ones are not quoted. It must not contain NUL. */
export const quote = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`

/** A value in an option of QEMU (`-netdev user,id=…`), where a comma ends it, and two commas are one in it. */
export const qemuValue = (value: string): string => value.replaceAll(",", ",,")
