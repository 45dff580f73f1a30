/**
 * What a guest must be given when it continues from a saved one: the time, and entropy of its own. Until then all guests of one
 * saved machine draw the same numbers from the same generator.
 *
 * Only a program can do it: the kernel mixes what is written to /dev/urandom into its pool, but draws from the pool again
 * only a minute later. `RNDADDENTROPY` and `RNDRESEEDCRNG` make it do so at once. So the guest is given a program of 331 bytes
 * (`renew.s`), which also sets the clock; it starts in a tenth of the time of a perl, and a guest needs nothing for it.
 */
import { randomBytes } from "node:crypto"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Digest from "../../host/Digest.ts"
import { elf, octal } from "./elf.ts"

/** What `renew.s` is assembled to. */
const code =
  "SInjSIPsYEmJ5EUx7TH/TInmulgAAAAxwA8Fg/hYdAlBgM0B6ZQAAAC44wAAADH/TInmDwWFwHQEQYDNArgCAAAASI09fgAAAL4CAAAAMdIPBYnFice4" +
  "EAAAAL4DUghASY1UJBAPBYXAdARBgM0Eie+4EAAAAL4HUgAAMdIPBYXAdARBgM0ISIt7EEiF/3QtSItzGEiF9nQkuFIAAAAPBYXAdARBgM0QSIt7GEiL" +
  "cxC4WAAAAA8FSIPDEOvKRInvuDwAAAAPBS9kZXYvcmFuZG9tAA=="

/** The program as an ELF file. */
export const program: Buffer = elf(Buffer.from(code, "base64"))

/** Another program has another name: a saved guest may have an older one. */
const name = `vmtest-renew-${Digest.of(program).slice(0, 8)}`

/** Where it may be: folders in the guest's memory. */
const folders = "/run /dev/shm /tmp"

/** Puts the program into a folder of the guest from which programs can be run; leaves `vm_renew` empty where there is none. */
export const install = `for vm_d in ${folders}; do
  vm_renew=$vm_d/${name}
  [ ! -x $vm_renew ] || break
  printf %b '${octal(program)}' >$vm_renew && chmod 700 $vm_renew || continue
  vm_e=0
  $vm_renew </dev/null || vm_e=$?
  [ $vm_e != 1 ] || break
  rm -f $vm_renew
  vm_renew=
done 2>/dev/null
`

/** After {@link install}. */
export const installed = `[ -n "$vm_renew" ] || {
  echo "its clock and its entropy cannot be renewed: no program can be run in ${folders}" >&2
  exit 1
}
`

const timespec = 16
const entropyBytes = 64

/** What the program reads but for the entropy: the time, and how many bits there are in how many bytes. */
const head = (nanos: bigint): Buffer => {
  const bytes = Buffer.alloc(timespec + 8)
  bytes.writeBigInt64LE(nanos / 1_000_000_000n, 0)
  bytes.writeBigInt64LE(nanos % 1_000_000_000n, 8)
  bytes.writeInt32LE(entropyBytes * 4, timespec)
  bytes.writeInt32LE(entropyBytes, timespec + 4)
  return bytes
}

/** The exit code of {@link find} where the program is not installed. */
export const missing = 97

/** Shell text that looks for the program, and ends where it is not there. */
export const find = `for vm_d in ${folders}; do
  vm_renew=$vm_d/${name}
  [ ! -x $vm_renew ] || break
  vm_renew=
done
[ -n "$vm_renew" ] || exit ${missing}
`

/**
 * Shell text that renews the clock and the entropy, and ends where that cannot be done. `names` is words: `$old $new…`.
 *
 * The entropy is 256 bits as 64 letters, which need no escapes: a guest's shell reads its commands letter by letter. `ahead` is how many whole milliseconds
 * the guest's clock is to be ahead of the host's.
 */
export const script = (names = "", ahead = 0): Effect.Effect<string> =>
  Effect.map(
    Clock.currentTimeNanos,
    (
      nanos
    ) => `printf %b '${octal(head(nanos + BigInt(ahead) * 1_000_000n))}${randomBytes(entropyBytes / 2).toString("hex")}' >$vm_renew.in
$vm_renew ${names} <$vm_renew.in
vm_e=$?
: >$vm_renew.in
[ $((vm_e & 15)) = 0 ] || { echo "its clock and its entropy could not be renewed ($vm_e)" >&2; exit 1; }
`
  )

/** A new machine-id. */
export const machineId: Effect.Effect<string> = Effect.sync(() => randomBytes(16).toString("hex"))
