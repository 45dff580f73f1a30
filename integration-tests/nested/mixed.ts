/** Machines of three backends in one test, on one bridge. */
import { Effect } from "effect"
import { Image, test } from "vmtest"

const tiny = { image: Image.tiny(), memory: "128 MiB", vlans: ["lan"] } as const

export default test(
  "one machine of each backend on one bridge",
  {
    machines: {
      q: { ...tiny, backend: "qemu" },
      f: { ...tiny, backend: "firecracker" },
      c: { ...tiny, backend: "cloud-hypervisor" }
    },
    networks: { lan: { fabric: "bridge" } },
    timeout: "20 minutes"
  },
  (machines, driver) =>
    Effect.gen(function* () {
      const all = Object.values(machines)
      for (const from of all) {
        for (const to of all.filter((other) => other !== from)) {
          yield* driver.subtest(`${from.name} reaches ${to.name}`, from.succeed(`ping -c 2 -w 20 ${to.name}`))
        }
      }
      yield* machines.f.block("eth1")
      yield* machines.q.fail("ping -c 1 -w 3 f")
      yield* machines.q.succeed("ping -c 1 -w 20 c")
      yield* machines.f.unblock("eth1")
      yield* machines.q.waitUntilSucceeds("ping -c 1 -w 3 f", { timeout: "1 minute" })
    })
)
