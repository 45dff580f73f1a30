/**
 * The characters on the keys of keyboard layouts, as X and Debian's console have them.
 *
 * Source: the symbols of xkb-data 2.35.1 (Debian 12), which `ckbcomp -layout <name>` of console-setup 1.221 prints for the console. The layouts have
 * the names that they have there.
 */

/**
 * The keys of a PC keyboard with 105 keys that have characters, in the order of the strings below, by QEMU's names and by Linux's numbers
 * (KEY_GRAVE = 41, … in linux/input-event-codes.h).
 */
export const positions: ReadonlyArray<readonly [key: string, code: number]> = [
  ["grave_accent", 41],
  ...[..."1234567890"].map((digit, index) => [digit, 2 + index] as const),
  ["minus", 12],
  ["equal", 13],
  ...[..."qwertyuiop"].map((letter, index) => [letter, 16 + index] as const),
  ["bracket_left", 26],
  ["bracket_right", 27],
  ...[..."asdfghjkl"].map((letter, index) => [letter, 30 + index] as const),
  ["semicolon", 39],
  ["apostrophe", 40],
  ["backslash", 43],
  // Between the left shift key and "z"; American keyboards do not have it.
  ["less", 86],
  ...[..."zxcvbnm"].map((letter, index) => [letter, 44 + index] as const),
  ["comma", 51],
  ["dot", 52],
  ["slash", 53]
]

/** What is pressed together with a key for each of its characters, by QEMU's names. */
export const levels = { plain: [], shift: ["shift"], altGr: ["alt_r"], shiftAltGr: ["shift", "alt_r"] } as const

/** A character for each of the {@link positions}: a blank where there is none, a combining accent where there is a dead key. */
export type Characters = Partial<Readonly<Record<keyof typeof levels, string>>>

export const layouts = {
  us: {
    plain: "`1234567890-=qwertyuiop[]asdfghjkl;'\\ zxcvbnm,./",
    shift: '~!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:"| ZXCVBNM<>?'
  },
  gb: {
    plain: "`1234567890-=qwertyuiop[]asdfghjkl;'#\\zxcvbnm,./",
    shift: '¬!"£$%^&*()_+QWERTYUIOP{}ASDFGHJKL:@~|ZXCVBNM<>?',
    altGr: "|¹²³€½¾{[]}\\\u0327@ſe¶ŧ←↓→øþ\u0308\u0303æßðđŋħ ĸł\u0301\u0302\u0300|«»¢„“”µ•· ",
    shiftAltGr: "|¡⅛£¼⅜⅝⅞™±°¿ Ω§E®Ŧ¥↑ıØÞ  ÆẞÐªŊĦ &Ł   ¦<>©‚‘’º×÷ "
  },
  de: {
    plain: "\u03021234567890ß\u0301qwertzuiopü+asdfghjklöä#<yxcvbnm,.-",
    shift: "°!\"§$%&/()=?\u0300QWERTZUIOPÜ*ASDFGHJKLÖÄ'>YXCVBNM;:_",
    altGr: "′¹²³¼½¬{[]}\\\u0327@ſ€¶ŧ←↓→øþ\u0308~æſðđŋħ ĸł \u0302’|»«¢„“”µ·…–",
    shiftAltGr: "″¡⅛£¤⅜⅝⅞™±°¿ Ω§€®Ŧ¥↑ıØÞ ¯ÆẞÐªŊĦ &Ł   |›‹©‚‘’º×÷—"
  },
  ch: {
    plain: "§1234567890'\u0302qwertzuiopü\u0308asdfghjklöä$<yxcvbnm,.-",
    shift: '°+"*ç%&/()=?\u0300QWERTZUIOPè!ASDFGHJKLéà£>YXCVBNM;:_',
    altGr: "¬|@#¼½¬|¢]}\u0301\u0303@ſ€¶ŧ←↓→œþ[]æßðđŋħ ĸł\u0301{}\\«»¢„“”µ•· ",
    shiftAltGr: "¬¡⅛£$⅜⅝⅞™±°¿ Ω§E®Ŧ¥↑ıŒÞ  ÆẞÐªŊĦ &Ł   ¦<>©‚‘’º×÷ "
  },
  fr: {
    plain: "²&é\"'(-è_çà)=azertyuiop\u0302$qsdfghjklmù*<wxcvbn,;:!",
    shift: "~1234567890°+AZERTYUIOP\u0308£QSDFGHJKLM%µ>WXCVBN?./§",
    altGr: "¬¹~#{[|`\\^@]}æ«€¶ŧ←↓→øþ\u0308¤@ßðđŋħ ĸłµ\u0302\u0300|ł»¢„“”\u0301•· ",
    shiftAltGr: "¬¡⅛£$⅜⅝⅞™±°¿ Æ<¢®Ŧ¥↑ıØÞ  ΩẞÐªŊĦ &Łº  ¦Ł>©‚‘’ ×÷ "
  },
  be: {
    plain: "²&é\"'(§è!çà)-azertyuiop\u0302$qsdfghjklmùµ<wxcvbn,;:=",
    shift: "³1234567890°_AZERTYUIOP\u0308*QSDFGHJKLM%£>WXCVBN?./+",
    altGr: "¬|@#¼½^{[{}\\\u0327@ſ€¶ŧ←↓→œþ[]æßðđŋħ ĸł\u0301\u0301\u0300\\«»¢„“”\u0327•·\u0303",
    shiftAltGr: "¬¡⅛£$⅜⅝⅞™±°¿ Ω§¢®Ŧ¥↑ıŒÞ  ÆẞÐªŊĦ &Ł   \\<>©‚‘’º×÷ "
  },
  es: {
    plain: "º1234567890'¡qwertyuiop\u0300+asdfghjklñ\u0301ç<zxcvbnm,.-",
    shift: 'ª!"·$%&/()=?¿QWERTYUIOP\u0302*ASDFGHJKLÑ\u0308Ç>ZXCVBNM;:_',
    altGr: "\\|@#~½¬{[]}\\\u0327@ſ€¶ŧ←↓→øþ[]æßðđŋħ ĸł\u0303{}|«»¢„“”µ•· ",
    shiftAltGr: "\\¡⅛£$⅜⅝⅞™±°¿ Ω§¢®Ŧ¥↑ıØÞ  ÆẞÐªŊĦ &Ł   ¦<>©‚‘’º×÷ "
  },
  it: {
    plain: "\\1234567890'ìqwertyuiopè+asdfghjklòàù<zxcvbnm,.-",
    shift: '|!"£$%&/()=?^QWERTYUIOPé*ASDFGHJKLç°§>ZXCVBNM;:_',
    altGr: "¬¹²³¼½¬{[]}`~@ſ€¶ŧ←↓→øþ[]æßðđŋħ ĸł@#\u0300««»¢“”ñµ\u0301· ",
    shiftAltGr: "¦¡ \u0303⅛⅜⅝⅞™± ¿\u0302Ω§¢®Ŧ¥↑ıØÞ{}ÆẞÐªŊĦ &Ł\u0327  »<>©‘’Ñº×\u0308÷"
  },
  pt: {
    plain: "\\1234567890'«qwertyuiop+\u0301asdfghjklçº\u0303<zxcvbnm,.-",
    shift: '|!"#$%&/()=?»QWERTYUIOP*\u0300ASDFGHJKLÇª\u0302>ZXCVBNM;:_',
    altGr: "¬¹@£§½¬{[]}\\\u0327@ſ€¶ŧ←↓→øþ\u0308\u0303æßðđŋħ ĸł\u0301\u0302\u0300\\«»¢„“”µ•· ",
    shiftAltGr: "¬¡⅛£$⅜⅝⅞™±°¿ Ω§¢®Ŧ¥↑ıØÞ  ÆẞÐªŊĦ &Ł   \\<>©‚‘’º×÷ "
  },
  dk: {
    plain: "½1234567890+\u0301qwertyuiopå\u0308asdfghjklæø'<zxcvbnm,.-",
    shift: '§!"#¤%&/()=?\u0300QWERTYUIOPÅ\u0302ASDFGHJKLÆØ*>ZXCVBNM;:_',
    altGr: "¾¡@£$½¥{[]}±|@ſ€®þ←↓→œþ\u0308\u0303ªßðđŋħ ĸł\u0301\u0302 \\«»©„“”µ\u0327· ",
    shiftAltGr: "¶¹²³¼¢⅝÷«»°¿¦Ω§¢®Þ¥↑ıŒÞ  ºẞÐªŊĦ &Ł  ×¬<>©‚‘’º   "
  },
  no: {
    plain: "|1234567890+\\qwertyuiopå\u0308asdfghjkløæ'<zxcvbnm,.-",
    shift: '§!"#¤%&/()=?\u0300QWERTYUIOPÅ\u0302ASDFGHJKLØÆ*>ZXCVBNM;:_',
    altGr: "¦¡@£$½¥{[]}±\u0301@ſ€®þ←↓→œπ\u0308\u0303ªßðđŋħ ĸł\u0301\u0302 ½«»©„“”µ\u0327…–",
    shiftAltGr: "¶¹²³¼‰⅝÷«»°¿¬Ω§¢™Þ¥↑ıŒΠ  ºẞÐªŊĦ &Ł  ×¾<>©‚‘’º ·—"
  },
  se: {
    plain: "§1234567890+\u0301qwertyuiopå\u0308asdfghjklöä'<zxcvbnm,.-",
    shift: '½!"#¤%&/()=?\u0300QWERTYUIOPÅ\u0302ASDFGHJKLÖÄ*>ZXCVBNM;:_',
    altGr: "¶¡@£$€¥{[]}\\±@ſ€®þ←↓→œþ\u0308\u0303ªßðđŋħ ĸłøæ'|«»©„“”µ\u0327· ",
    shiftAltGr: "¾¹²³¼¢⅝÷«»°¿¬Ω§¢®Þ¥↑ıŒÞ  ºẞÐªŊĦ &ŁØÆ×¦<>©‚‘’º   "
  },
  pl: {
    plain: "`1234567890-=qwertyuiop[]asdfghjkl;'\\<zxcvbnm,./",
    shift: '~!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:"|>ZXCVBNM<>?',
    altGr: "¬≠²³¢€½§·«»–\u0327πœę©ß←↓→óþ\u0308\u0303ąśðæŋ’ə…ł\u0301\u0302\u0300|żźć„”ńµ≤≥ ",
    shiftAltGr: "∨¡¿£¼‰∧≈¾±°— ΩŒĘ®™¥↑↔ÓÞ  ĄŚÐÆŊ•Ə Ł   ¦ŻŹĆ‘“Ń∞×÷ "
  }
} as const satisfies Readonly<Record<string, Characters>>

/** The accents of dead keys that Linux's console and X know, with the letters that both put them on. */
export const accents: Readonly<Record<string, string>> = {
  "\u0300": "AEIOUaeiou",
  "\u0301": "AEIOUYaeiouy",
  "\u0302": "AEIOUaeiou",
  "\u0303": "ANOano",
  "\u0308": "AEIOUaeiouy",
  "\u0327": "Cc"
}

/** What a dead key and the space bar give, where the console and X agree. */
export const alone: Readonly<Record<string, string>> = { "\u0300": "`", "\u0302": "^", "\u0303": "~" }
