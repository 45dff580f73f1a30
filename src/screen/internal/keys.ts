/** QEMU's key names (QKeyCode in its qapi/ui.json) that a PC keyboard has. */
import { type Aliases, nearest } from "../../host/Spelling.ts"

const letters = "abcdefghijklmnopqrstuvwxyz"
const digits = "0123456789"

export const keyNames: ReadonlySet<string> = new Set([
  ...letters,
  ...digits,
  ...Array.from({ length: 12 }, (_, index) => `f${index + 1}`),
  ...Array.from({ length: 10 }, (_, index) => `kp_${index}`),
  ..."shift shift_r alt alt_r ctrl ctrl_r meta_l meta_r menu compose caps_lock num_lock scroll_lock".split(" "),
  ..."esc minus equal backspace tab bracket_left bracket_right ret semicolon apostrophe grave_accent".split(" "),
  ..."backslash comma dot slash spc less asterisk".split(" "),
  ..."kp_divide kp_multiply kp_subtract kp_add kp_enter kp_decimal kp_equals kp_comma".split(" "),
  ..."print sysrq pause home pgup pgdn end left up down right insert delete".split(" "),
  ..."power sleep wake volumeup volumedown audiomute".split(" ")
])

/** Other names of keys. */
const aliases: Aliases = {
  enter: "ret",
  return: "ret",
  space: "spc",
  escape: "esc",
  control: "ctrl",
  super: "meta_l",
  win: "meta_l",
  meta: "meta_l",
  cmd: "meta_l",
  del: "delete",
  ins: "insert",
  pageup: "pgup",
  page_up: "pgup",
  pagedown: "pgdn",
  page_down: "pgdn"
}

/** The three keys whose names are nearest to a name, the nearest first. */
export const nearestKeys = (name: string): ReadonlyArray<string> => nearest(name, keyNames, aliases).slice(0, 3)
