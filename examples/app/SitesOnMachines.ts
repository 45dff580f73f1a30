/** Sites on two virtual machines: one serves the pages, the other is a reader. What machines fail with becomes the application's own errors. */
import { Effect, Layer } from "effect"
import { DriverLayer, Image, type Machine } from "vmtest"
import { PageMissing, SiteDown, Sites } from "./Sites.ts"

class Server extends DriverLayer.Machine<Server>()("server", { image: Image.tiny() }) {}
class Reader extends DriverLayer.Machine<Reader>()("reader", { image: Image.tiny() }) {}

const down = (error: { readonly message: string }) => new SiteDown({ reason: error.message })

const read = (reader: Machine) =>
  Effect.fnUntraced(function* (path: string) {
    const command = reader.execute(`wget -q -O - 'http://server/${path}'`, { timeout: "10 seconds" })
    const { exitCode, stderr, stdout } = yield* Effect.mapError(command, down)
    if (exitCode === 0) return stdout
    return yield* stderr.includes("404") ? new PageMissing({ path }) : new SiteDown({ reason: stderr.trim() })
  })

const sites = Layer.effect(
  Sites,
  Effect.gen(function* () {
    const server = yield* Server
    const reader = yield* Reader
    yield* server.succeed("mkdir -p /srv; busybox httpd -h /srv").pipe(Effect.mapError(down))
    yield* server.waitForOpenPort(80).pipe(Effect.mapError(down))
    return {
      publish: (path: string, text: string) => Effect.mapError(server.writeFile(`/srv/${path}`, text), down),
      read: read(reader)
    }
  })
)

/** The sites of an application, on machines that live as long as it does. Why the machines did not start is a `SiteDown`, too. */
export const layer: Layer.Layer<Sites, SiteDown> = sites.pipe(
  Layer.provide(Layer.merge(Server.layer, Reader.layer)),
  Layer.provide(DriverLayer.layer({ name: "app" })),
  Layer.catch((error) => Layer.effect(Sites, Effect.fail(error instanceof SiteDown ? error : down(error))))
)
