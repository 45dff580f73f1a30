/** The kernel of a suite, unpacked from its package: the parts that images are made of. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import type { Apt, Resolved } from "./apt.ts"
import { archiveName, candidate, download } from "./apt.ts"
import { attempt, type Building, failure, must } from "./building.ts"
import { type Condition, conditionalModules, type Module } from "./guestFiles.ts"
import { builtinModules, compressed, dependencies, index, loadOrder } from "./kernelModules.ts"
import { withTextScreen } from "./textScreen.ts"
import { extractVmlinux } from "./vmlinux.ts"

/** The packages that the kernel and busybox come in. */
export interface KernelPackages {
  readonly kernel: Resolved
  readonly busybox: Resolved
}

/** An unpacked kernel. */
export interface Kernel {
  /** As `uname -r` has it. */
  readonly release: string
  readonly image: Buffer
  readonly busybox: Buffer
  /** The folder that holds `<release>/`. */
  readonly modules: string
}

/** What the suite's kernel, by default its cloud kernel, and busybox are today. */
export const packages = Effect.fnUntraced(function* (building: Building, apt: Apt, flavour: "generic" | undefined) {
  const kernel = yield* flavour === "generic"
    ? candidate(building, apt, "linux-image-amd64", /^linux-image-\d(?!.*-(cloud|rt)-).*-amd64$/)
    : candidate(building, apt, "linux-image-cloud-amd64", /^linux-image-\d.*-cloud-amd64$/)
  const busybox = yield* candidate(building, apt, "busybox-static", /^busybox-static$/)
  return { kernel, busybox } satisfies KernelPackages
})

/** Fetches and unpacks the kernel and busybox below `work`. */
export const unpack = Effect.fnUntraced(function* (building: Building, apt: Apt, which: KernelPackages, work: string) {
  yield* download(building, apt, [which.kernel, which.busybox])
  const step = "unpacking the kernel"
  yield* building.progress(step, which.kernel.version)
  const folder = Path.join(work, "kernel")
  for (const one of [which.kernel, which.busybox]) {
    yield* must(building, {
      step,
      path: work,
      command: "dpkg-deb",
      args: ["--extract", Path.join(apt.archives, archiveName(one)), folder]
    })
  }
  const usr = Fs.existsSync(Path.join(folder, "usr/lib/modules")) ? "usr/lib/modules" : "lib/modules"
  const modules = Path.join(folder, usr)
  const packed = yield* attempt(building, step, work, () => compressed(modules))
  // Since trixie: unpacked once here, instead of in each guest at each boot.
  if (packed.length > 0) {
    yield* must(building, {
      step,
      path: work,
      command: "xz",
      args: ["--decompress", "--files0"],
      stdin: { text: packed.map((path) => `${path}\0`).join("") }
    })
  }
  return yield* attempt(building, step, work, (): Kernel => {
    const release = Fs.readdirSync(modules)[0] ?? ""
    const bootable = Fs.readFileSync(Path.join(folder, "boot", `vmlinuz-${release}`))
    const busybox = ["bin/busybox", "usr/bin/busybox"].map((path) => Path.join(folder, path)).find(Fs.existsSync)
    return {
      release,
      image: withTextScreen(extractVmlinux(bootable) ?? bootable),
      busybox: Fs.readFileSync(busybox ?? Path.join(folder, "bin/busybox")),
      modules
    }
  })
})

/** The wanted modules and what they need, in the order in which they load; and those that only some guests load, with what only these need. */
export const selectModules = Effect.fnUntraced(function* (
  building: Building,
  kernel: Kernel,
  wanted: ReadonlyArray<string>,
  work: string
) {
  const step = "choosing kernel modules"
  const found = yield* attempt(building, step, work, () => {
    const paths = index(kernel.modules)
    const builtin = builtinModules(Path.join(kernel.modules, kernel.release, "modules.builtin"))
    const modules = new Map<string, Buffer>()
    const needs = (name: string) => {
      const path = paths.get(name)
      if (path === undefined) return builtin.has(name) ? [] : undefined
      const data = Fs.readFileSync(path)
      modules.set(name, data)
      return dependencies(data)
    }
    const always = loadOrder(wanted, needs)
    const some = Object.entries(conditionalModules).map(([when, name]) => ({
      when: when as Condition,
      ...loadOrder([name], needs)
    }))
    const order = [
      ...always.order.map((name) => ({ name, when: undefined })),
      ...some.flatMap(({ order, when }) =>
        order.filter((name) => !always.order.includes(name)).map((name) => ({ name, when }))
      )
    ]
    return { order, missing: [always, ...some].flatMap(({ missing }) => missing), modules }
  })
  if (found.missing.length > 0) {
    const reason = `the kernel ${kernel.release} does not have the module ${found.missing.join(", ")}`
    return yield* failure(building, step, reason, "", work)
  }
  return found.order.flatMap(({ name, when }): Array<Module> => {
    const data = found.modules.get(name)
    return data === undefined ? [] : [{ name, data, when }]
  })
})
