/** Builds a tiny image: a kernel, and an initramfs that is the whole guest. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Zlib from "node:zlib"
import * as Effect from "effect/Effect"
import * as Store from "../../host/Store.ts"
import * as Cpio from "../Cpio.ts"
import * as Apt from "./apt.ts"
import { attempt, type Building } from "./building.ts"
import * as Entries from "./entries.ts"
import * as GuestFiles from "./guestFiles.ts"
import * as Kernel from "./kernel.ts"
import type { TinyPlan } from "./plan.ts"

/** What a tiny image is built with. */
export const tools = ["apt-get", "apt-config", "dpkg-deb", "flock"]

/** Builds and stores; whatever goes wrong, nothing is left. */
export const build = Effect.fnUntraced(function* (building: Building, store: Store.Store, plan: TinyPlan) {
  const mirrors = yield* Apt.mirrorsFor(plan.suite, plan.mirror)
  const work = yield* building.workspace
  const { kernel, packages } = yield* Effect.gen(function* () {
    const apt = yield* Apt.open(building, Apt.folderOf(store), plan.suite, mirrors)
    const packages = yield* Kernel.packages(building, apt, plan.kernel)
    return { kernel: yield* Kernel.unpack(building, apt, packages, work), packages }
  }).pipe(
    Store.withReservation(store, Apt.reservation, {
      onWait: (holder) => building.progress("waiting for another build's downloads", holder)
    })
  )
  const modules = yield* Kernel.selectModules(building, kernel, plan.modules, work)
  yield* building.progress("packing the guest")
  const out = Path.join(work, "out")
  yield* attempt(building, "packing the guest", work, () => {
    const files = plan.files.map(
      ({ data, mode, path }): Cpio.CpioEntry => ({ path: path.slice(1), type: "file", mode, data })
    )
    Fs.mkdirSync(out, { mode: 0o700 })
    Fs.writeFileSync(Path.join(out, "kernel"), kernel.image)
    Fs.writeFileSync(
      Path.join(out, "initrd"),
      Zlib.gzipSync(Cpio.encode(GuestFiles.tinyTree(kernel.busybox, modules, files)))
    )
  })
  return yield* Entries.publish(building, store, out, {
    kind: "tiny",
    name: plan.name,
    key: plan.key,
    suite: plan.suite,
    cmdline: plan.cmdline,
    packages: [packages.kernel, packages.busybox].map(({ name, version }) => `${name}=${version}`)
  })
})
