/** The keyboard layout of a guest: of its console, and what its X servers look up. */
import * as KeyboardLayout from "../../screen/KeyboardLayout.ts"
import { elf, octal } from "./elf.ts"

/** What `keyboard.s` is assembled to: it gives Linux the keys that stand behind it. */
const code = "SI0dOAAAAEUx5GaDewL/dCS4EAAAAL8BAAAAvkdLAABIidoPBYXAdAZBvAEAAABIg8ME69VEiee4PAAAAA8F"

/** Bytes of a `struct kbentry` (linux/kd.h). */
const keyBytes = 4

/** The program with the keys of a layout. */
export const program = (layout: KeyboardLayout.KeyboardLayout): Buffer => {
  const keys = KeyboardLayout.consoleKeys(layout)
  const entries = Buffer.alloc((keys.length + 1) * keyBytes, 0xff)
  for (const [index, { code, table, value }] of keys.entries()) {
    entries.writeUInt8(table, index * keyBytes)
    entries.writeUInt8(code, index * keyBytes + 1)
    entries.writeUInt16LE(value, index * keyBytes + 2)
  }
  return elf(Buffer.concat([Buffer.from(code, "base64"), entries]))
}

/**
 * Shell text for an initramfs, where `vm_root` is the folder of the guest's root file system. `/etc/default/keyboard` is what Debian's X servers and
 * its console-setup read; the console itself needs none of its packages.
 */
export const earlyScript = (layout: KeyboardLayout.KeyboardLayout): string => `vm_keys=/run/vmtest-keyboard
printf %b '${octal(program(layout))}' >$vm_keys
busybox chmod 700 $vm_keys
$vm_keys >/dev/tty0 || echo 'vmtest: could not set the keyboard layout ${layout} of the console' >/dev/console
busybox rm -f $vm_keys
if [ -d $vm_root/etc/default ]; then
  printf '%s\\n' 'XKBMODEL="pc105"' 'XKBLAYOUT="${layout}"' 'XKBVARIANT=""' 'XKBOPTIONS=""' 'BACKSPACE="guess"' >$vm_root/etc/default/keyboard
fi
`
