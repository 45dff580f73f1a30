/** The folder that a fork is restored from: the saved machine's own files, but with the TAP devices of the fork in its configuration. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Disk from "../../host/Disk.ts"
import type { MachineShape, SavedMachine } from "../Backend.ts"
import type { VmmCard } from "../internal/vmmNetwork.ts"

/** What Cloud Hypervisor writes of a saved machine. */
export const fileNames = { configuration: "config.json", state: "state.json", memory: "memory-ranges" } as const

const Configuration = Schema.fromJsonString(Schema.Record(Schema.String, Schema.Unknown))
const decode = Schema.decodeUnknownResult(Configuration)

/** A card with the fork's TAP device. `host_mac` is that of the source's, which the fork's would be given. */
const onTap = (card: unknown, cards: ReadonlyArray<VmmCard>): unknown => {
  if (!Predicate.isObject(card)) return card
  const found = cards.find(({ device }) => Predicate.hasProperty(card, "id") && card.id === device)
  const { host_mac: _, ...rest } = card as { readonly host_mac?: unknown }
  return found === undefined ? card : { ...rest, tap: found.tapName }
}

/** The configuration of a saved machine for other TAP devices; undefined if the text is not one. */
export const rewrite = (text: string, cards: ReadonlyArray<VmmCard>): string | undefined => {
  const decoded = decode(text)
  if (Result.isFailure(decoded)) return undefined
  const { net, ...rest } = decoded.success
  return JSON.stringify({ ...rest, ...(Array.isArray(net) ? { net: net.map((card) => onTap(card, cards)) } : { net }) })
}

/** Makes the folder. Fails with the reason, which is the saved machine's own fault where it is `damaged`. */
export const prepare = (
  shape: MachineShape,
  from: SavedMachine,
  cards: ReadonlyArray<VmmCard>
): Effect.Effect<string, { readonly reason: string; readonly damaged: boolean }> => {
  const folder = Path.join(shape.directory, "restore")
  const source = (name: string) => Path.join(from.directory, name)
  return Effect.flatMap(
    Effect.try({
      try: () => {
        Fs.rmSync(folder, { recursive: true, force: true })
        Fs.mkdirSync(folder, { mode: 0o700 })
        Fs.copyFileSync(source(fileNames.state), Path.join(folder, fileNames.state))
        Fs.symlinkSync(source(fileNames.memory), Path.join(folder, fileNames.memory))
        const configuration = rewrite(Fs.readFileSync(source(fileNames.configuration), "utf8"), cards)
        if (configuration === undefined) return undefined
        Fs.writeFileSync(Path.join(folder, fileNames.configuration), configuration, { mode: 0o600 })
        return folder
      },
      catch: (error) => ({ reason: Disk.reasonOf(error), damaged: false })
    }),
    (made) =>
      made === undefined
        ? Effect.fail({ reason: `its ${fileNames.configuration} is not JSON`, damaged: true })
        : Effect.succeed(made)
  )
}
