/** Code page 437: the characters that the 256 bytes of a PC's text screen stand for. */

const low = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
const high =
  "⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ "

/** The character at each of the 256 places. */
export const codePage: ReadonlyArray<string> = [
  ...low,
  ...Array.from({ length: 127 - 32 }, (_, index) => String.fromCharCode(32 + index)),
  ...high
]
