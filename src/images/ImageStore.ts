/**
 * Builds images and keeps them, in the cache folder `images`, by the digest of everything that goes in.
 *
 * A stored image needs neither network nor apt, nor a cache that can be written. It is checked before it is used, and a damaged one is built again.
 * When several processes ask for one image, one of them builds it and the others wait. A build that failed removes what
 * it made; what a killed one left is removed by the next process that uses the store.
 *
 * **Example** (an image, from the store or built)
 *
 * ```ts
 * const image = yield* ImageStore.use((store) =>
 *   store.resolve(Image.tiny(), { onProgress: (progress) => Console.log(progressLine(progress)) })
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Semaphore from "effect/Semaphore"
import * as Cache from "../host/Cache.ts"
import * as HostProcess from "../host/HostProcess.ts"
import * as Prune from "../host/Prune.ts"
import * as Store from "../host/Store.ts"
import type { BootImage } from "./BootImage.ts"
import { describe, type Image } from "./Image.ts"
import type { ImageError } from "./ImageError.ts"
import * as Apt from "./internal/apt.ts"
import * as BuildDebian from "./internal/buildDebian.ts"
import { type Building, failure } from "./internal/building.ts"
import * as BuildLog from "./internal/buildLog.ts"
import * as BuildTiny from "./internal/buildTiny.ts"
import { bootDisk } from "./internal/disk.ts"
import * as Entries from "./internal/entries.ts"
import { bootMicrovm } from "./internal/microvm.ts"
import * as Plan from "./internal/plan.ts"
import * as Scratch from "./internal/scratch.ts"
import { bootScript } from "./internal/startScript.ts"

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

/** What to prune. By default what was not used for 30 days, and the least recently used beyond 20 GiB. */
export type PruneOptions = Prune.PruneOptions

/** What was pruned. Images in use, and those that could not be removed, stay. */
export type Pruned = Prune.Pruned<StoredImage>

/** The operations of an image store. */
export interface ImageStoreService {
  /** The image, from the store or built. It is not pruned by any process as long as this store lives. */
  readonly resolve: (image: Image, options?: ResolveOptions) => Effect.Effect<BootImage, ImageError>
  /** Everything stored, the most recently used first. */
  readonly list: Effect.Effect<ReadonlyArray<StoredImage>, ImageError>
  /** Also removes what killed builds left. */
  readonly prune: (options?: PruneOptions) => Effect.Effect<Pruned, ImageError>
}

/** Where images come from. */
export class ImageStore extends Context.Service<ImageStore, ImageStoreService>()("vmtest/images/ImageStore") {
  /** A store in the cache folder. */
  static readonly layer: Layer.Layer<ImageStore> = Layer.effect(
    ImageStore,
    Effect.gen(function* () {
      const opened = yield* Store.make(Cache.open("images"), { removeTree: Scratch.remove })
      return ImageStore.of(operations(opened, yield* Semaphore.make(1)))
    })
  )
}

const defaultLimit = 20 * 2 ** 30

const imageSpan = (name: string, image: string) =>
  [`vmtest.image.${name}`, { attributes: { "vmtest.image": image }, captureStackTrace: false }] as const

/** The newest sound image of a key that was built since a time. */
const find = (store: Store.Store, key: string, since: number) =>
  Entries.find(store, key, ({ manifest }) => Effect.succeed(manifest.builtAt >= since))

/** Builds an image, unless another process has done so since it was asked for. */
const build = Effect.fnUntraced(
  function* (store: Store.Store, plan: Plan.Plan, building: Building, asked: number) {
    // A refresh wants a build that began after it was asked for.
    const found = yield* find(store, plan.key, building.refresh ? asked : 0)
    yield* Effect.annotateCurrentSpan("vmtest.store.hit", found !== undefined)
    if (found !== undefined) return found
    return yield* Effect.scoped(
      plan.kind === "tiny" ? BuildTiny.build(building, store, plan) : BuildDebian.build(building, store, plan)
    )
  },
  (effect, store, plan, building) =>
    Store.withReservation(store, Entries.short(plan.key), {
      onWait: (holder) => building.progress("waiting for another build of this image", holder)
    })(effect).pipe(
      Effect.tap(({ manifest }) => Effect.annotateCurrentSpan("vmtest.image.digest", manifest.digest)),
      Effect.withSpan(...imageSpan("build", plan.name))
    )
)

const operations = (
  opened: Effect.Effect<Store.Store, Cache.CacheUnwritable>,
  one: Semaphore.Semaphore
): ImageStoreService => {
  const resolve = Effect.fnUntraced(
    function* (image: Image, options: ResolveOptions = {}) {
      if (image._tag === "DiskImage") return yield* bootDisk(image)
      if (image._tag === "StartScriptImage") return yield* bootScript(image)
      if (image._tag === "MicrovmImage") return yield* bootMicrovm(image)
      const plan = yield* image._tag === "TinyImage" ? Plan.tiny(image) : Plan.debian(image)
      const store = yield* opened
      const asked = yield* Clock.currentTimeMillis
      if (options.refresh !== true) {
        // One after the other, so that several machines of one image read it once.
        const found = yield* one.withPermits(1)(find(store, plan.key, 0))
        yield* Effect.annotateCurrentSpan("vmtest.store.hit", found !== undefined)
        if (found !== undefined) return bootImage(found)
      }
      if (store.unwritable !== undefined) return yield* store.unwritable
      yield* Effect.forEach(plan.kind === "tiny" ? BuildTiny.tools : BuildDebian.tools, (tool) =>
        HostProcess.locate(tool)
      )
      const building: Building = {
        image: plan.name,
        log: BuildLog.fileOf(store, Entries.short(plan.key)),
        refresh: options.refresh === true,
        progress: (step, detail) =>
          Effect.flatMap(
            Clock.currentTimeMillis,
            (now) => options.onProgress?.({ image: plan.name, step, detail, elapsed: now - asked }) ?? Effect.void
          ),
        workspace: Effect.mapError(Store.workspace(store, Entries.short(plan.key)), ({ path, reason }) =>
          failure(building, "making room", reason, "", path)
        )
      }
      const built = yield* build(store, plan, building, asked)
      yield* BuildLog.forget(building.log)
      yield* Effect.ignore(prune())
      return bootImage(built)
    },
    Effect.tap(({ digest }) => Effect.annotateCurrentSpan("vmtest.image.digest", digest)),
    (effect, image) => Effect.withSpan(effect, ...imageSpan("resolve", describe(image)))
  )

  const prune = Effect.fnUntraced(function* (options: PruneOptions = {}) {
    const store = yield* opened
    if (store.unwritable !== undefined) return yield* store.unwritable
    yield* Store.sweep(store)
    yield* BuildLog.prune(store, (yield* Clock.currentTimeMillis) - Duration.toMillis(options.olderThan ?? "30 days"))
    const entries = Entries.list(store)
    const newest = new Map<string, string>()
    for (const { id, manifest } of entries) if (!newest.has(manifest.key)) newest.set(manifest.key, id)
    const replaced = new Set(entries.filter(({ id, manifest }) => newest.get(manifest.key) !== id).map(({ id }) => id))
    return yield* Prune.prune({
      candidates: yield* list,
      expendable: ({ id }) => replaced.has(id),
      olderThan: options.olderThan,
      maxBytes: options.maxBytes ?? defaultLimit,
      remove: ({ id, kind }) =>
        kind === "packages"
          ? Store.removeFolder(store, Apt.folderOf(store)).pipe(
              Store.withReservation(store, Apt.reservation, { timeout: 0 }),
              Effect.catchTag("LockTimeout", () => Effect.succeed(false))
            )
          : Store.removeUnpinned(store, id)
    })
  })

  const list = Effect.map(opened, (store): ReadonlyArray<StoredImage> => {
    const images = Entries.list(store).map(({ folder, id, manifest }): StoredImage => {
      const { builtAt, digest, kind, name, suite } = manifest
      return {
        id,
        kind,
        name,
        suite,
        digest,
        bytes: Store.bytesOf(folder),
        builtAt,
        lastUsed: Store.lastUsed(store, id)
      }
    })
    return [...images, ...packages(Apt.folderOf(store))].sort((a, b) => b.lastUsed - a.lastUsed)
  })

  return { resolve, list, prune }
}

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
const packages = (folder: string): ReadonlyArray<StoredImage> => {
  const stat = Fs.statSync(folder, { throwIfNoEntry: false })
  if (stat === undefined) return []
  const suite = Fs.readdirSync(folder).map((name) => name.replace(/-[0-9a-f]+$/, ""))
  const used = stat.mtimeMs
  const bytes = Store.bytesOf(folder)
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
