/**
 * `vmtest image list|build|prune`: the image cache.
 *
 * **Example** (List the images, and remove those that were not used for a month)
 *
 * ```sh
 * vmtest image list
 * vmtest image prune --older-than '30 days'
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Image from "../images/Image.ts"
import * as ImageStore from "../images/ImageStore.ts"
import * as TerminalReport from "../report/TerminalReport.ts"
import type { Invocation } from "./CommandLine.ts"
import * as ExitCode from "./ExitCode.ts"
import { age, count, size, table } from "./internal/listing.ts"
import * as Run from "./Run.ts"
import { complain, print, type Work } from "./Subcommand.ts"

const total = (images: ReadonlyArray<ImageStore.StoredImage>): string =>
  size(images.reduce((sum, { bytes }) => sum + bytes, 0))

/** Prints an error, and gives exit code 2. */
const orComplain = <R>(
  work: Effect.Effect<ExitCode.ExitCode, { readonly message: string }, R | ImageStore.ImageStore>
) =>
  work.pipe(
    Effect.provide(ImageStore.ImageStore.layer),
    Effect.catch((error) => Effect.as(complain(error.message), ExitCode.unusable))
  )

/** Lists the cached images, the most recently used first. */
export const list = ({ json }: Extract<Invocation, { readonly _tag: "ImageList" }>): Work =>
  Effect.gen(function* () {
    const images = yield* (yield* ImageStore.ImageStore).list
    if (json) {
      yield* print(JSON.stringify(images, null, 2))
      return ExitCode.passed
    }
    const now = yield* Clock.currentTimeMillis
    const rows = images.map((image) => [
      image.name,
      image.kind,
      image.suite,
      size(image.bytes),
      age(now - image.builtAt),
      age(now - image.lastUsed),
      image.id
    ])
    if (images.length > 0) yield* print(table([["IMAGE", "KIND", "SUITE", "SIZE", "AGE", "UNUSED FOR", "ID"], ...rows]))
    yield* print(`${count(images.length, "image")}, ${total(images)}`)
    return ExitCode.passed
  }).pipe(orComplain)

const tellProgress = (progress: ImageStore.ImageProgress) =>
  complain(`${progress.image}: ${ImageStore.progressLine(progress)}`)

/** Builds the images that are not cached, or with `refresh` all of them, one after the other. */
export const build = Effect.fnUntraced(function* ({
  refresh,
  scripts
}: Extract<Invocation, { readonly _tag: "ImageBuild" }>): Effect.fn.Return<
  ExitCode.ExitCode,
  never,
  Effect.Services<Work>
> {
  const tests = yield* Run.loadAll(scripts, { orMachines: true })
  if (tests === undefined) return ExitCode.unusable
  const declared = tests.flatMap((test) => Object.values(test.machines).map(({ image }) => image))
  const images = scripts.length > 0 ? declared : [Image.tiny(), Image.debian()]
  return yield* Effect.gen(function* () {
    const store = yield* ImageStore.ImageStore
    const done = new Set<string>()
    for (const image of images) {
      // A second machine of the same image needs no second refresh.
      const key = JSON.stringify(image)
      if (done.has(key)) continue
      done.add(key)
      const before = yield* Clock.currentTimeMillis
      const built = yield* store.resolve(image, { refresh, onProgress: tellProgress })
      const now = yield* Clock.currentTimeMillis
      const how =
        built.builtAt >= before
          ? `built in ${TerminalReport.duration(now - before)}`
          : `cached, ${age(now - built.builtAt)} old`
      yield* print(`${Image.describe(image)}: ${how}`)
    }
    return ExitCode.passed
  }).pipe(orComplain)
})

/** Removes images by age and size; without either, by the cache's own limits. */
export const prune = ({ all, maxSize, olderThan }: Extract<Invocation, { readonly _tag: "ImagePrune" }>): Work =>
  Effect.gen(function* () {
    const store = yield* ImageStore.ImageStore
    const { bytes, removed } = yield* store.prune({
      ...(all ? { maxBytes: 0 } : maxSize === undefined ? {} : { maxBytes: maxSize }),
      ...(olderThan === undefined ? {} : { olderThan })
    })
    for (const image of removed) yield* print(`removed ${image.name} (${image.kind}, ${image.id})`)
    yield* print(`removed ${count(removed.length, "image")}, ${size(bytes)}; ${total(yield* store.list)} left`)
    return ExitCode.passed
  }).pipe(orComplain)
