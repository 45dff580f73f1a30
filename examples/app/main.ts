/** An application with services and errors of its own, to which vmtest is one Layer among others. Run it with `node examples/app/main.ts`. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Context, Effect, Layer } from "effect"
import { Sites } from "./Sites.ts"
import * as SitesOnMachines from "./SitesOnMachines.ts"

/** Another service of the application. */
class Journal extends Context.Service<Journal, { readonly note: (line: string) => Effect.Effect<void> }>()(
  "app/Journal"
) {
  static readonly layer = Layer.succeed(Journal, { note: (line) => Console.log(`journal: ${line}`) })
}

/** It needs services of the application, and fails with errors of the application. */
const program = Effect.gen(function* () {
  const sites = yield* Sites
  const { note } = yield* Journal
  yield* sites.publish("index.html", "hello\n")
  yield* note(`a reader gets ${JSON.stringify(yield* sites.read("index.html"))}`)
  yield* sites.read("nothing.html").pipe(Effect.catchTag("PageMissing", ({ path }) => note(`there is no ${path}`)))
})

program.pipe(
  Effect.catchTag("SiteDown", ({ reason }) => Console.error(`the site is down: ${reason}`)),
  Effect.provide(Layer.merge(SitesOnMachines.layer, Journal.layer)),
  NodeRuntime.runMain
)
