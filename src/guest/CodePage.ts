/**
 * Code page 437: the characters of the 256 bytes of a PC's text screen.
 *
 * **Example** (A box)
 *
 * ```ts
 * codePage[0xc9] // "╔"
 * ```
 *
 * @since 0.1.0
 */

const low = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
const high =
  "⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ "

/** The character of each byte. */
export const codePage: ReadonlyArray<string> = [
  ...low,
  ...Array.from({ length: 127 - 32 }, (_, index) => String.fromCharCode(32 + index)),
  ...high
]
