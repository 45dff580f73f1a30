/**
 * What a folder says of itself: `manifest.json`, and beside it a seal, the digest by which a changed manifest is found out.
 *
 * **Example** (written once, and read as what the schema says)
 *
 * ```ts
 * const Toy = Schema.Struct({ color: Schema.String })
 * Manifest.write("/tmp/toy", { color: "red" })
 * Manifest.read("/tmp/toy", Toy) // { value: { color: "red" } }
 * ```
 *
 * @since 0.1.0
 */
import * as Path from "node:path"
import * as Schema from "effect/Schema"
import * as Digest from "./Digest.ts"
import * as Disk from "./Disk.ts"

/** The name of the manifest in its folder. */
export const fileName = "manifest.json"
const sealName = "manifest.sha256"

const sealOf = (text: string) => `${Digest.of(text)}\n`

/** Writes the manifest of a folder and its seal. A reader finds the old manifest or the new one, sealed, at any moment. Throws what the system says. */
export const write = (folder: string, manifest: unknown): void => {
  const text = `${JSON.stringify(manifest, null, 2)}\n`
  const before = Disk.readText(Path.join(folder, sealName)) ?? ""
  // While the two are exchanged the seal is good for both.
  Disk.replaceFile(Path.join(folder, sealName), before + sealOf(text))
  Disk.replaceFile(Path.join(folder, fileName), text)
  Disk.replaceFile(Path.join(folder, sealName), sealOf(text))
}

/** The manifest of a folder, why it cannot be believed, or undefined when there is none that can be read. */
export const read = <A>(
  folder: string,
  schema: Schema.Decoder<A>
): { readonly value: A } | { readonly problem: string } | undefined => {
  const text = Disk.readText(Path.join(folder, fileName))
  if (text === undefined) return undefined
  // Whole lines alone, so that one that was cut is found even if only its end is missing.
  const seals = (Disk.readText(Path.join(folder, sealName)) ?? "").split(/(?<=\n)/)
  if (!seals.includes(sealOf(text))) return { problem: `${fileName} was changed` }
  const decoded = Schema.decodeUnknownOption(Schema.fromJsonString(schema))(text)
  return decoded._tag === "Some" ? { value: decoded.value } : { problem: `${fileName} is not valid` }
}
