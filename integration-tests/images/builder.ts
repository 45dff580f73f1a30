/** Builds a tiny image, for tests that kill a build: `node builder.ts`. It says on its standard output what it does. */
import * as Effect from "effect/Effect"
import * as Image from "../../src/images/Image.ts"
import { ImageStore } from "../../src/images/ImageStore.ts"

const say = (text: string) => Effect.sync(() => process.stdout.write(`${text}\n`))

const program = ImageStore.use((store) =>
  store.resolve(Image.tiny(), { onProgress: ({ step }) => say(step) }).pipe(Effect.flatMap(({ digest }) => say(digest)))
).pipe(Effect.provide(ImageStore.layer))

Effect.runFork(program)
