/** The kernel of a Debian image as its package has it. UEFI firmware starts that bzImage, but not the ELF kernel inside it, which images have. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Cache from "../src/host/Cache.ts"
import { quote } from "../src/host/Quote.ts"
import * as Store from "../src/host/Store.ts"
import type { BootImage } from "../src/images/BootImage.ts"
import * as Apt from "../src/images/internal/apt.ts"
import { type Building, must } from "../src/images/internal/building.ts"

/** `Linux version 6.1.0-57-cloud-amd64 (…) #1 SMP PREEMPT_DYNAMIC Debian 6.1.192-3 (2026-11-26)` */
const banner = /Linux version (\S+) [^\n\0]* Debian (\S+) \(/

/** Gets it, from the cached package where that is still there, into a folder; gives its path. */
export const bzImage = Effect.fnUntraced(function* (boot: BootImage, folder: string) {
  const [, release = "", version = ""] = banner.exec(Fs.readFileSync(boot.kernel, "latin1")) ?? []
  const building: Building = {
    ...{ image: "the kernel of a test", refresh: false, log: Path.join(folder, "kernel.log") },
    progress: () => Effect.void,
    workspace: Effect.succeed(folder)
  }
  const store = yield* yield* Store.make(Cache.open("images"))
  const name = `./boot/vmlinuz-${release}`
  yield* Effect.gen(function* () {
    const apt = yield* Apt.open(building, Apt.folderOf(store), "bookworm", yield* Apt.mirrorsFor("bookworm", undefined))
    const archive = { name: `linux-image-${release}`, version, architecture: "amd64" }
    yield* Apt.download(building, apt, [archive])
    const unpack = `dpkg-deb --fsys-tarfile ${quote(Path.join(apt.archives, Apt.archiveName(archive)))} | tar -x -C ${quote(folder)} ${name}`
    yield* must(building, { step: "unpacking", path: folder, command: "bash", args: ["-eo", "pipefail", "-c", unpack] })
  }).pipe(Store.withReservation(store, Apt.reservation))
  return Path.join(folder, name)
})
