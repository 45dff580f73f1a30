/** Copies of disks: shared with the original where the file system can do that, and with its holes. */
import * as Effect from "effect/Effect"
import * as HostProcess from "../../host/HostProcess.ts"

/** Copies a file over another one, or makes it. Fails with the reason. */
export const copySparse = (from: string, to: string): Effect.Effect<void, string> =>
  HostProcess.run({
    command: "cp",
    args: ["--reflink=auto", "--sparse=always", "--no-preserve=mode", "--", from, to]
  }).pipe(
    Effect.mapError((error) => error.message),
    Effect.flatMap(({ exitCode, stderr }) => (exitCode === 0 ? Effect.void : Effect.fail(stderr.trim())))
  )
