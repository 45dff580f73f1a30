/**
 * Builds images and keeps them, in the cache folder `images`, by the digest of everything that goes in.
 *
 * A stored image needs neither network nor apt. It is checked before it is used, and one that is damaged is built again.
 * Builds of one image by several processes happen once: the others wait, and take it. What a build that failed or was
 * killed leaves is removed by itself or by the next build.
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Cache from "../host/Cache.ts"
import * as HostProcess from "../host/HostProcess.ts"
import * as Lock from "../host/Lock.ts"
import type { BootImage } from "./BootImage.ts"
import type { Image } from "./Image.ts"
import type { ImageError } from "./ImageError.ts"
import * as BuildDebian from "./internal/buildDebian.ts"
import { type Building, removeFolder } from "./internal/building.ts"
import * as BuildTiny from "./internal/buildTiny.ts"
import { bootDisk } from "./internal/disk.ts"
import * as Entries from "./internal/entries.ts"
import * as Plan from "./internal/plan.ts"
import { choose } from "./internal/prune.ts"
import * as Scratch from "./internal/scratch.ts"

/** One step of a build, for the terminal. */
export interface ImageProgress {
  /** What the description is called: `Image.describe`. */
  readonly image: string
  readonly step: string
  readonly detail: string | undefined
  /** Milliseconds since the image was asked for. */
  readonly elapsed: number
}

/** How to get an image. */
export interface ResolveOptions {
  /** Builds it again from the newest packages, even if it is stored. Default false. */
  readonly refresh?: boolean | undefined
  /** Called for each step of a build; not at all when the image is stored. */
  readonly onProgress?: ((progress: ImageProgress) => Effect.Effect<void>) | undefined
}

/** A step as one line for the terminal: `building the image: nginx-light (12 s)`. */
export const progressLine = ({ detail, elapsed, step }: ImageProgress): string =>
  `${step}${detail === undefined || detail === "" ? "" : `: ${detail}`} (${Math.round(elapsed / 1000)} s)`

/** Something in the store. */
export interface StoredImage {
  readonly id: string
  /** `base` is what all debian images of a suite start from; `packages` are apt's lists and archives. */
  readonly kind: "tiny" | "debian" | "base" | "packages"
  readonly name: string
  readonly suite: string
  readonly digest: string
  /** On disk; a kernel that several images share counts for each. */
  readonly bytes: number
  /** Milliseconds since the epoch, as is `lastUsed`. */
  readonly builtAt: number
  readonly lastUsed: number
}

/** What to remove. */
export interface PruneOptions {
  /** What was not used for longer. Default 30 days. */
  readonly olderThan?: Duration.Input | undefined
  /** The least recently used, until all is no larger. Default 20 GiB. */
  readonly maxBytes?: number | undefined
}

/** What was removed; images in use, and what could not be removed whole, stay, and are in neither. */
export interface Pruned {
  readonly removed: ReadonlyArray<StoredImage>
  readonly bytes: number
}

/** A stored image that is not what was built. */
export interface Damage {
  readonly id: string
  readonly problem: string
}

interface Operations {
  /** The image, from the store or built. Held against pruning by other processes as long as this store lives. */
  readonly resolve: (image: Image, options?: ResolveOptions) => Effect.Effect<BootImage, ImageError>
  /** Everything stored, the most recently used first. */
  readonly list: Effect.Effect<ReadonlyArray<StoredImage>, ImageError>
  /** Also removes what killed builds left. */
  readonly prune: (options?: PruneOptions) => Effect.Effect<Pruned, ImageError>
  /** Reads every stored image, and says which are damaged. */
  readonly verify: Effect.Effect<ReadonlyArray<Damage>, ImageError>
}

/** Where images come from. */
export class ImageStore extends Context.Service<ImageStore, Operations>()("vmtest/images/ImageStore") {
  /** A store in the cache folder. */
  static readonly layer: Layer.Layer<ImageStore> = Layer.effect(
    ImageStore,
    Effect.gen(function* () {
      const scope = yield* Effect.scope
      return ImageStore.of(operations(scope, yield* Semaphore.make(1)))
    })
  )
}

const operations = (scope: Scope.Scope, one: Semaphore.Semaphore): Operations => {
  const store = Effect.map(Cache.folder("images"), Scratch.storeAt)
  const held = new Set<string>()

  /** Keeps a stored thing from being removed by others while this store lives. */
  const hold = Effect.fnUntraced(function* (place: Scratch.Store, id: string) {
    if (held.has(id)) return
    yield* Scope.provide(Lock.acquire(Scratch.lockOf(place, id), { mode: "shared" }), scope)
    held.add(id)
  })

  /** The newest sound image of a key that was built since a time; damaged ones are removed. */
  const stored = Effect.fnUntraced(function* (place: Scratch.Store, key: string, since: number) {
    for (const { id } of Entries.list(place.entries).filter((entry) => Entries.isOf(entry.id, key))) {
      yield* hold(place, id)
      const entry = Entries.read(place.entries, id)
      if (entry === undefined || entry.manifest.key !== key || entry.manifest.builtAt < since) continue
      const problem = yield* Entries.problemOf(entry)
      if (problem === undefined) {
        yield* Entries.touch(Path.join(entry.folder, "used"))
        return entry
      }
      yield* Effect.logWarning(`the stored image ${id} is damaged (${problem}) and is built again`)
      yield* removeFolder(entry.folder)
    }
    return undefined
  })

  const resolve = Effect.fnUntraced(function* (image: Image, options: ResolveOptions = {}) {
    if (image._tag === "DiskImage") return yield* bootDisk(image)
    const plan = yield* image._tag === "TinyImage" ? Plan.tiny(image) : Plan.debian(image)
    const place = yield* store
    const asked = yield* currentTime
    // Trees of dead builds may hold much memory; usually there are none, and this costs one look.
    yield* Scratch.sweep(place)
    if (options.refresh !== true) {
      // One after the other, so that several machines of one image read it once.
      const found = yield* one.withPermits(1)(stored(place, plan.key, 0))
      if (found !== undefined) return bootImage(found)
    }
    yield* Effect.forEach(plan.kind === "tiny" ? BuildTiny.tools : BuildDebian.tools, (tool) =>
      HostProcess.locate(tool)
    )
    const building: Building = {
      image: plan.name,
      refresh: options.refresh === true,
      progress: (step, detail) =>
        Effect.flatMap(
          currentTime,
          (now) => options.onProgress?.({ image: plan.name, step, detail, elapsed: now - asked }) ?? Effect.void
        )
    }
    const built = yield* Effect.gen(function* () {
      // Another process may have built it while this one waited; a refresh wants one that was begun after it was asked.
      const found = yield* stored(place, plan.key, building.refresh ? asked : 0)
      if (found !== undefined) return found
      const entry = yield* Effect.scoped(
        plan.kind === "tiny" ? BuildTiny.build(building, place, plan) : BuildDebian.build(building, place, plan)
      )
      yield* hold(place, entry.id)
      return entry
    }).pipe(
      Lock.withLock(Scratch.lockOf(place, plan.key.slice(0, 20)), {
        onWait: (holder) => building.progress("waiting for another build of this image", holder)
      })
    )
    yield* Effect.ignore(prune())
    return bootImage(built)
  })

  const prune = Effect.fnUntraced(function* (options: PruneOptions = {}) {
    const place = yield* store
    yield* Scratch.sweep(place)
    const everything = yield* list
    const keys = new Map(Entries.list(place.entries).map(({ id, manifest }) => [id, manifest.key]))
    const chosen = choose(
      everything.map((one) => ({ ...one, key: keys.get(one.id) ?? one.id })),
      {
        now: yield* currentTime,
        olderThan: Duration.toMillis(options.olderThan ?? "30 days"),
        maxBytes: options.maxBytes ?? 20 * 2 ** 30
      }
    )
    const removed: Array<StoredImage> = []
    for (const one of everything.filter(({ id }) => chosen.includes(id))) {
      const folder = one.kind === "packages" ? place.apt : Path.join(place.entries, one.id)
      const gone = yield* removeFolder(folder).pipe(
        Lock.withLock(Scratch.lockOf(place, one.id), { deadline: 0 }),
        // Removing goes as far as it can; what it could not remove is still there.
        Effect.map(() => !Fs.existsSync(folder)),
        Effect.catchTag("LockTimeout", () => Effect.succeed(false))
      )
      if (gone) removed.push(one)
    }
    return { removed, bytes: removed.reduce((sum, { bytes }) => sum + bytes, 0) }
  })

  const list = Effect.map(store, (place): ReadonlyArray<StoredImage> => {
    const images = Entries.list(place.entries).map((entry): StoredImage => {
      const { builtAt, digest, kind, name, suite } = entry.manifest
      const bytes = Entries.bytesOf(entry.folder)
      return { id: entry.id, kind, name, suite, digest, bytes, builtAt, lastUsed: Entries.lastUsed(entry) }
    })
    return [...images, ...packages(place)].sort((a, b) => b.lastUsed - a.lastUsed)
  })

  const verify = Effect.gen(function* () {
    const place = yield* store
    const damage: Array<Damage> = []
    for (const entry of Entries.list(place.entries)) {
      Fs.rmSync(Path.join(entry.folder, "checked"), { force: true })
      const problem = yield* Entries.problemOf(entry)
      if (problem !== undefined) damage.push({ id: entry.id, problem })
    }
    return damage
  })

  return { resolve, list, prune, verify }
}

const currentTime = Effect.clockWith((clock) => clock.currentTimeMillis)

const bootImage = ({ folder, manifest }: Entries.Entry): BootImage => ({
  digest: manifest.digest,
  kernel: Path.join(folder, "kernel"),
  initrd: Path.join(folder, "initrd"),
  cmdline: manifest.cmdline,
  root: manifest.files.root === undefined ? undefined : Path.join(folder, "root"),
  guest: manifest.kind === "tiny" ? "tiny" : "debian",
  builtAt: manifest.builtAt
})

/** apt's lists and archives, as one thing that can be pruned: they only make the next build faster. */
const packages = (place: Scratch.Store): ReadonlyArray<StoredImage> => {
  const stat = Fs.statSync(place.apt, { throwIfNoEntry: false })
  if (stat === undefined) return []
  const suite = Fs.readdirSync(place.apt).map((name) => name.replace(/-[0-9a-f]+$/, ""))
  const used = stat.mtimeMs
  const bytes = Entries.bytesOf(place.apt)
  return [
    {
      id: "apt",
      kind: "packages",
      name: "Debian packages",
      suite: suite.join(" "),
      digest: "",
      bytes,
      builtAt: used,
      lastUsed: used
    }
  ]
}
