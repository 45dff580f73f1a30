/** What QEMU's human monitor prints. */

/**
 * What the human monitor of QEMU 7.2 prints when a line was wrong or went wrong; it has no status of its own. `word: …` is no
 * mistake: it reports memory and the balloon that way.
 */
const mistakes: ReadonlyArray<RegExp> = [
  // a line that it could not read, after any of many reasons
  /^Try "help [^"]*" for more information\r?$/m,
  /^(Error\b|invalid |unknown (command|event)\b|unrecognized |unexpected option |Must specify )/i,
  // of host forwarding, debuggers and files; after the reason where there is one
  /^could not /im,
  /^.* not found\r?\n$/,
  /^('\w+' error for |No memory is mapped at )/,
  /: Cannot access memory\r?\n$/
]

/** Whether the text that it printed for a line is about a mistake. */
export const isMistake = (printed: string): boolean => mistakes.some((mistake) => mistake.test(printed))
