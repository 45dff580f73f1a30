/** The host's end of a copy: its `tar`, and what that complains of. */
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as HostProcess from "../../host/HostProcess.ts"
import type { Guest } from "../Guest.ts"
import { HostFileError } from "../HostFile.ts"

/** The error of a file on the host. */
export const hostError = (guest: Guest, path: string, reason: string) =>
  new HostFileError({ machine: guest.name, path, reason })

/** Runs a program of the host for a file, and collects its complaints. */
export const runFor = Effect.fnUntraced(function* (guest: Guest, path: string, options: HostProcess.SpawnOptions) {
  const program = yield* HostProcess.spawn({ ...options, stderr: "pipe" }).pipe(
    Effect.mapError((error) => hostError(guest, path, error.message))
  )
  const complaints = yield* Stream.mkString(Stream.decodeText(program.stderr)).pipe(
    Effect.orElseSucceed(() => ""),
    Effect.forkScoped
  )
  return { program, complaints: Effect.map(Fiber.join(complaints), (text) => text.trim()) }
})

/** What tar says about a tree that is in use; it exits with 1 then, although it copied everything. */
const harmless = /changed as we read it|removed before we read it|socket ignored|^\s*$/

/** Whether a tar only complained that its files are in use. */
export const wasInUse = (exitCode: number | undefined, complaints: string) =>
  exitCode === 1 && complaints.split("\n").every((line) => harmless.test(line))

/** Packs the content of a folder, or one file. Writes as much as fits a pipe, 128 blocks: with tar's own 10 KiB this process would run six times as often. */
export const packer = (
  real: string,
  { member, sparse }: { readonly member: string | undefined; readonly sparse: boolean }
) => ({
  command: "tar",
  args: [
    ...["--create", "--file=-", "--owner=0", "--group=0", "--numeric-owner", "--blocking-factor=128"],
    ...(sparse ? ["--sparse"] : []),
    ...(member === undefined ? ["--directory", real, "."] : ["--directory", Path.dirname(real), `./${member}`])
  ]
})

/** Unpacks a stream into a folder. */
export const unpacker = (folder: string) => ({
  command: "tar",
  args: ["--extract", "--file=-", "--preserve-permissions", "--no-same-owner", "--directory", folder]
})
