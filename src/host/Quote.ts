/**
 * Words of shell commands, for guests and for people who paste them.
 *
 * @since 0.1.0
 */

/** A word that a POSIX shell reads back as it is; plain ones stay plain. NUL has no place in one. */
export const quote = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
