/** What of the host a saved machine depends on. */
import * as Fs from "node:fs"
import * as Effect from "effect/Effect"
import * as Digest from "../../host/Digest.ts"

const attempt = (read: () => string): Effect.Effect<string> => Effect.orElseSucceed(Effect.try(read), () => "unknown")

/**
 * The processor of the host: a guest on KVM sees it and its microcode, and keeps to what it saw. The order of the flags and
 * the speed of the moment do not count.
 */
export const hostCpu = attempt(() => {
  const info = Fs.readFileSync("/proc/cpuinfo", "utf8").split("\n\n")[0] ?? ""
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, "m").exec(info)?.[1] ?? ""
  const flags = Digest.short(Digest.of(field("flags").split(" ").sort().join(" ")))
  return `${field("model name")} ${field("stepping")} ${field("microcode")} ${flags}`
})

/** A package's new build of the same version is another file, and may save otherwise. */
export const program = (path: string) =>
  attempt(() => {
    const { mtimeMs, size } = Fs.statSync(path)
    return `${size} bytes of ${Math.floor(mtimeMs / 1000)}`
  })
