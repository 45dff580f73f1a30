import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Image from "../../src/images/Image.ts"
import * as MachineChecks from "../../src/machine/MachineChecks.ts"
import * as MachineSpec from "../../src/machine/MachineSpec.ts"
import * as NetworkSpec from "../../src/network/NetworkSpec.ts"

const image = Image.tiny()
const GiB = 1024 ** 3

const check = (name: string, options: Partial<MachineSpec.MachineOptions> = {}) =>
  MachineSpec.check(name, { image, ...options }).pipe(
    Effect.provideService(MachineSpec.HostLimits, { memory: 8 * GiB, cpus: 4 })
  )

const refused = (name: string, options: Partial<MachineSpec.MachineOptions>, option: string, words: string) =>
  Effect.gen(function* () {
    const error = yield* Effect.flip(check(name, options))
    assert.strictEqual(error._tag, "InvalidMachine")
    assert.strictEqual(error.option, option)
    assert.include(error.message, words)
  })

describe("a machine's declaration", () => {
  it.effect("needs only an image", () =>
    Effect.gen(function* () {
      const spec = yield* check("web")
      assert.deepStrictEqual(spec, {
        name: "web",
        image,
        backend: undefined,
        memory: GiB,
        cpus: 1,
        disks: [],
        devices: [],
        hotplug: false,
        qemuArguments: [],
        keyboardLayout: undefined,
        vlans: [{ vlan: 1 }],
        autoStart: true,
        warmUp: undefined,
        snapshot: true,
        allowReboot: false,
        internet: false,
        forwards: []
      })
    })
  )

  it.effect("takes sizes as text or as bytes", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* check("a", { memory: "512 MiB" })).memory, 512 * 1024 ** 2)
      assert.strictEqual((yield* check("a", { memory: "2GB" })).memory, 2e9)
      assert.strictEqual((yield* check("a", { memory: 268_435_456 })).memory, 268_435_456)
    })
  )

  it.effect("takes the sizes of disks, in whole mebibytes", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual((yield* check("a", { disks: ["1 GiB", 1_048_577] })).disks, [GiB, 2_097_152])
      yield* refused(
        "a",
        { disks: [-1] },
        "disks[0]",
        'disks[0] must be a size from 1 MiB to 4 PiB, such as "512 MiB" or a number of bytes, got -1'
      )
      yield* refused("a", { disks: ["1 GiB", 1000] }, "disks[1]", "disks[1] must be a size from 1 MiB to 4 PiB")
    })
  )

  for (const name of ["", "-a", "a-", "a_b", "a b", "a.b", "é", "a".repeat(64)]) {
    it.effect(`refuses the name ${JSON.stringify(name)}`, () =>
      refused(name, {}, "name", "name must be a host name of letters")
    )
  }

  for (const name of ["localhost.localdomain", "web.", "10.0.0.1", "::1", "ip6-localhost."]) {
    it.effect(`refuses the dots and colons of ${JSON.stringify(name)}`, () =>
      refused(name, {}, "name", `name must be a host name of letters, digits and inner hyphens`)
    )
  }

  for (const name of ["0", "10", "010", "08", "4294967296", "0x", "0xa", "0XA00000a"]) {
    it.effect(`refuses the number ${name}, which programs read as an address`, () =>
      refused(name, {}, "name", `name must not be a number, which programs read as an address, got "${name}"`)
    )
  }

  for (const name of [
    "localhost",
    "LocalHost",
    "localhost6",
    "localdomain",
    "ip6-localhost",
    "ip6-allnodes",
    "broadcasthost"
  ]) {
    it.effect(`refuses ${name}, which leads elsewhere`, () =>
      refused(name, {}, "name", `name must not be one that systems reserve for themselves, got "${name}"`)
    )
  }

  it.effect("takes every other host name", () =>
    Effect.forEach(
      [
        "a",
        "A1",
        "web-2",
        "1a",
        "10-1",
        "x10",
        "0y1",
        "beef",
        "localhost1",
        "my-localhost",
        "vmtest",
        "test",
        "a".repeat(63)
      ],
      (name) => check(name),
      { discard: true }
    )
  )

  for (const [given, option, meant] of [
    [{ allowreboot: true }, "allowreboot", 'a: unknown option "allowreboot"; did you mean "allowReboot"?'],
    [{ memorySize: 1024 }, "memorySize", 'unknown option "memorySize"; did you mean "memory"?'],
    [{ packages: [] }, "packages", 'unknown option "packages"; it is an option of Image.debian'],
    [{ files: {} }, "files", 'unknown option "files"; it is an option of Image.tiny and Image.debian'],
    [{ imgae: image }, "imgae", 'unknown option "imgae"; did you mean "image"?'],
    [{ colour: 1 }, "colour", 'unknown option "colour"; the options are image, backend, memory, cpus, disks'],
    [
      { forwards: [{ hostPort: 1, guestport: 2 }] },
      "forwards[0].guestport",
      'unknown option "guestport" of forwards[0]; did you mean "guestPort"?'
    ],
    [
      { warmUp: { run: () => Effect.void, kye: "1" } },
      "warmUp.kye",
      'unknown option "kye" of warmUp; did you mean "key"?'
    ]
  ] as const) {
    it.effect(`refuses the misspelt ${option}`, () => refused("a", given as object, option, meant))
  }

  it.effect("refuses memory that makes no sense", () =>
    Effect.gen(function* () {
      yield* refused("a", { memory: 0 }, "memory", "memory must be a size from 64 MiB to 4 PiB")
      yield* refused("a", { memory: -1 }, "memory", "memory must be a size from 64 MiB to 4 PiB")
      yield* refused("a", { memory: Number.NaN }, "memory", "memory must be a size from 64 MiB to 4 PiB")
      yield* refused("a", { memory: "lots" as "1 B" }, "memory", 'got "lots"')
      yield* refused(
        "a",
        { memory: "1 MiB" },
        "memory",
        'must be a size from 64 MiB to 4 PiB, such as "512 MiB" or a number of bytes, got "1 MiB"'
      )
    })
  )

  it.effect("refuses more than the host has", () =>
    Effect.gen(function* () {
      yield* refused("a", { memory: "9 GiB" }, "memory", "memory must be at most the 8 GiB of this host, got 9 GiB")
      yield* refused("a", { cpus: 5 }, "cpus", "cpus must be at most the 4 of this host, got 5")
    })
  )

  it.effect("lets a port of the host lead to one port of one machine", () =>
    Effect.gen(function* () {
      const forwarding = (...ports: ReadonlyArray<number>) => ({
        image,
        forwards: ports.map((hostPort) => ({ hostPort, guestPort: 80 }))
      })
      const twice = yield* Effect.flip(MachineChecks.checkAll({ a: forwarding(8080, 8080) }))
      assert.strictEqual(
        twice.message,
        "a: forwards[1].hostPort must be a port of its own, got 8080, which leads to a already"
      )
      const both = yield* Effect.flip(MachineChecks.checkAll({ a: forwarding(8080), b: forwarding(8081, 8080) }))
      assert.strictEqual(
        both.message,
        "b: forwards[1].hostPort must be a port of its own, got 8080, which leads to a already"
      )
      const udp = { hostPort: 8080, guestPort: 80, protocol: "udp" } as const
      yield* MachineChecks.checkAll({ a: forwarding(8080), b: { image, forwards: [udp] } })
    })
  )

  it.effect("refuses processors, networks and ports that make no sense", () =>
    Effect.gen(function* () {
      yield* refused("web", { cpus: 0 }, "cpus", "web: cpus must be a whole number of at least 1, got 0")
      yield* refused("a", { cpus: 1.5 }, "cpus", "whole number")
      for (const vlan of [0, 255, 300]) {
        const cards = "a number from 1 to 254, the name of a network, or an object { vlan, mac?, ipv4?, ipv6? }"
        yield* refused("a", { vlans: [vlan] }, "vlans[0]", `vlans[0] must be ${cards}, got ${vlan}`)
      }
      const forwards = [{ hostPort: 80, guestPort: 70000 }]
      yield* refused("a", { forwards }, "forwards[0].guestPort", "must be a whole number from 1 to 65535, got 70000")
    })
  )

  it.effect("refuses more cards and disks than there are slots", () =>
    Effect.gen(function* () {
      const of = (cards: number, disks: number) => ({
        vlans: Array.from({ length: cards }, (_, index) => index + 1),
        disks: Array.from({ length: disks }, () => "1 GiB" as const)
      })
      yield* check("a", of(16, 6))
      yield* check("a", of(0, 22))
      yield* refused("a", of(16, 8), "disks", "vlans, disks and devices must be at most 22 together, got 16, 8 and 0")
      yield* refused("a", of(23, 0), "disks", "at most 22 together")
    })
  )

  for (const [options, option, words] of [
    [{ internet: "no" }, "internet", 'internet must be true or false, got "no"'],
    [{ allowReboot: "false" }, "allowReboot", 'allowReboot must be true or false, got "false"'],
    [{ autoStart: "never" }, "autoStart", 'autoStart must be true or false, got "never"'],
    [{ snapshot: "off" }, "snapshot", 'snapshot must be true, false or "shared", got "off"'],
    [
      { forwards: [{ hostPort: 1, guestPort: 2, protocol: "sctp" }] },
      "forwards[0].protocol",
      'forwards[0].protocol must be "tcp" or "udp", got "sctp"'
    ],
    [{ warmUp: { run: () => Effect.void, key: 5 } }, "warmUp.key", "warmUp.key must be a string, got 5"],
    [{ disks: [1e20] }, "disks[0]", "disks[0] must be a size from 1 MiB to 4 PiB"],
    [{ disks: ["1000000 PiB"] }, "disks[0]", "disks[0] must be a size from 1 MiB to 4 PiB"],
    [{ memory: Effect.void }, "memory", "got an Effect; yield* it first"],
    [{ cpus: "2" }, "cpus", 'cpus must be a whole number of at least 1, got "2"'],
    [
      { vlans: 1 },
      "vlans",
      "vlans must be an array of networks, each a number, a name, or an object { vlan, mac?, ipv4?, ipv6? }, got 1"
    ],
    [
      { forwards: 1 },
      "forwards",
      "forwards must be an array, each an object { hostPort, guestPort, protocol? }, got 1"
    ],
    [{ forwards: [80] }, "forwards[0]", "forwards[0] must be an object { hostPort, guestPort, protocol? }, got 80"],
    [{ warmUp: "prepare" }, "warmUp", 'warmUp must be a function, or { run, key } with a function, got "prepare"'],
    [{ warmUp: { key: "1" } }, "warmUp.run", "warmUp.run is missing: it must be a function"],
    [{ image: undefined }, "image", "image must be an image, such as Image.tiny() or Image.debian({}), got undefined"],
    [{ image: Image.debian }, "image", "got the function debian"],
    [
      { image: Image.debian({ packages: "nginx" as never }) },
      "image.packages",
      'image.packages must be an array of names of Debian packages, such as ["nginx-light"], got "nginx"'
    ],
    [
      { image: Image.tiny({ file: {} } as object) },
      "image.file",
      'unknown option "file" of image; did you mean "files"?'
    ],
    [
      { image: Image.tiny({ packages: ["nginx"] } as object) },
      "image.packages",
      'unknown option "packages" of image; it is an option of Image.debian'
    ],
    [
      { image: Image.disk({ path: "x", modules: ["a"], memory: 1 } as never) },
      "image.modules",
      'unknown option "modules" of image; it is an option of Image.tiny'
    ],
    [
      { image: Image.debian({ memory: "1 GiB" } as object) },
      "image.memory",
      'unknown option "memory" of image; it is an option of the machine, beside image'
    ],
    ...["debian", {}, { _tag: "Nope" }, null, 1].map((image) => [{ image }, "image", "image must be an image"] as const)
  ] as const) {
    it.effect(`refuses ${words}`, () => refused("a", options as object, option, words))
  }

  it.effect("leaves to a start script what it decides, and lets its machine have a name as in NixOS", () =>
    Effect.gen(function* () {
      const script = { image: Image.startScript("run-a-vm") }
      const spec = yield* MachineSpec.check("node_1", script)
      assert.strictEqual(spec.name, "node_1")
      assert.strictEqual((yield* Effect.flip(MachineSpec.check("node_1", { image }))).option, "name")
      for (const own of [{ memory: "512 MiB" }, { cpus: 2 }, { disks: ["1 GiB"] }, { internet: true }] as const) {
        const [option = ""] = Object.keys(own)
        const error = yield* Effect.flip(MachineSpec.check("a", { ...script, ...own }))
        assert.strictEqual(
          error.message,
          `a: ${option} must not be declared for a machine of a start script: the script decides it`
        )
      }
      // A fork is declared as its original is, with all of its defaults.
      const { image: _, name, warmUp, ...rest } = spec
      assert.strictEqual((yield* MachineSpec.check(`${name}-fork1`, { ...script, ...rest })).name, "node_1-fork1")
      assert.isUndefined(warmUp)
    }).pipe(Effect.provideService(MachineSpec.HostLimits, { memory: 2 ** 40, cpus: 4 }))
  )

  it.effect("refuses what is no declaration at all", () =>
    Effect.gen(function* () {
      const declared = (options: unknown) =>
        Effect.map(Effect.flip(MachineSpec.check("a", options as MachineSpec.MachineOptions)), ({ message }) => message)
      assert.strictEqual(
        yield* declared({}),
        "a: image is missing: it must be an image, such as Image.tiny() or Image.debian({})"
      )
      assert.include(yield* declared(undefined), "a: the declaration must be an object such as { image: Image.tiny() }")
      assert.include(yield* declared(image), "{ image: Image.tiny() }, got only the image")
      assert.include(
        yield* declared(Effect.void),
        "the declaration must be an object such as { image: Image.tiny() }, got an Effect"
      )
    })
  )

  it.effect("refuses names that differ only in case", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(MachineChecks.checkAll({ web: { image }, Web: { image } }))
      assert.include(error.message, 'Web: name must differ from "web" in more than case')
    })
  )

  describe("of a test with networks", () => {
    const networks = NetworkSpec.resolve({ lan: {}, dmz: { vlan: 7, mtu: 1000 } })
    const checkIn = (vlans: MachineSpec.MachineOptions["vlans"], among: typeof networks = networks) =>
      MachineSpec.check("web", { image, ...(vlans === undefined ? {} : { vlans }) }, among)
    const messageOf = (vlans: MachineSpec.MachineOptions["vlans"], among: typeof networks = networks) =>
      Effect.map(Effect.flip(checkIn(vlans, among)), ({ _tag, message, option }) => [_tag, option, message])

    it.effect("is on the first of them by default, on none if there is none, or on those that it names", () =>
      Effect.gen(function* () {
        const dmz = { vlan: 7, network: "dmz", ipv6: "none" }
        const lan = { vlan: 1, network: "lan" }
        assert.deepStrictEqual((yield* checkIn(undefined)).vlans, [lan])
        assert.deepStrictEqual((yield* checkIn(undefined, [])).vlans, [])
        assert.deepStrictEqual((yield* checkIn([])).vlans, [])
        assert.deepStrictEqual((yield* checkIn([7, "lan", { vlan: "dmz" }])).vlans, [dmz, lan, dmz])
      })
    )

    it.effect("is refused on a network that there is not", () =>
      Effect.gen(function* () {
        const invalid = (index: number, words: string) => ["InvalidMachine", `vlans[${index}]`, `web: ${words}`]
        const near = 'unknown network "lna"; did you mean "lan"?'
        assert.deepStrictEqual(yield* messageOf(["dmz", "lna"]), invalid(1, near))
        const known = "unknown network 2; the networks are lan (1), dmz (7)"
        assert.deepStrictEqual(yield* messageOf([{ vlan: 2 }]), invalid(0, known))
        const undeclared = 'unknown network "lan"; the test must declare it: networks: { "lan": {} }'
        const { message } = yield* Effect.flip(MachineSpec.check("web", { image, vlans: ["lan"] }))
        assert.strictEqual(message, `web: ${undeclared}`)
      })
    )

    it.effect("is refused with the reason why a card cannot be", () =>
      Effect.gen(function* () {
        const messages = [
          ...(yield* messageOf([{ vlan: "lan", ipv4: "10.0.0.255" }])),
          ...(yield* messageOf([{ vlan: "dmz", ipv6: "fd00::5" }]))
        ]
        assert.deepStrictEqual(messages, [
          ...["InvalidMachine", "vlans[0].ipv4"],
          'web: vlans[0].ipv4 must not be the broadcast address of its network, got "10.0.0.255"',
          ...["InvalidMachine", "vlans[0]"],
          'web: ipv6 must be "none" on a network with an MTU below 1280, which IPv6 needs, got "fd00::5" on dmz with 1000'
        ])
      })
    )
  })

  it.effect("refuses machines with an address of another machine", () =>
    Effect.gen(function* () {
      const of = (ipv4: string) => ({ image, vlans: [{ vlan: 1, ipv4 }] })
      yield* MachineChecks.checkAll({ a: of("10.0.0.5"), b: of("10.0.0.6") })
      const error = yield* Effect.flip(MachineChecks.checkAll({ a: of("10.0.0.5"), b: of("10.0.0.5/8") }))
      assert.deepStrictEqual([error._tag, error.option], ["InvalidMachine", "vlans[0]"])
      assert.strictEqual(
        error.message,
        "b: eth1 must have an address of its own, got 10.0.0.5 on VLAN 1, which eth1 of a has"
      )
    }).pipe(Effect.provideService(MachineSpec.HostLimits, { memory: 8 * GiB, cpus: 4 }))
  )

  it.effect("refuses MACs for machines of start scripts, and takes their addresses", () =>
    Effect.gen(function* () {
      const script = { image: Image.startScript("/run-a-vm") }
      const spec = yield* MachineSpec.check("a", { ...script, vlans: [{ vlan: 1, ipv4: "10.0.0.5" }] })
      assert.deepStrictEqual(spec.vlans, [{ vlan: 1, ipv4: "10.0.0.5" }])
      const mac = { vlan: 1, mac: "52:54:00:aa:bb:cc" }
      const error = yield* Effect.flip(MachineSpec.check("a", { ...script, vlans: [mac] }))
      assert.strictEqual(
        error.message,
        "a: vlans[0].mac must not be declared for a machine of a start script: the script decides it"
      )
    })
  )

  it.effect("refuses machines that need more memory together than the host has", () =>
    Effect.gen(function* () {
      const of = (memory: "3 GiB" | "5 GiB") => ({ image, memory })
      yield* MachineChecks.checkAll({ a: of("3 GiB"), b: of("5 GiB") })
      const error = yield* Effect.flip(MachineChecks.checkAll({ a: of("3 GiB"), b: of("5 GiB"), c: of("3 GiB") }))
      assert.strictEqual(error.machine, "c")
      assert.include(
        error.message,
        "c: memory must be at most what the machines before it leave of the 8 GiB of this host, got 3 GiB, together 11 GiB"
      )
    }).pipe(Effect.provideService(MachineSpec.HostLimits, { memory: 8 * GiB, cpus: 4 }))
  )

  describe("with a hosts file in its image", () => {
    const hosts = (content: string | Uint8Array) => Image.tiny({ files: { "/etc/hosts": content } })
    const checked = (content: string | Uint8Array) =>
      MachineChecks.checkAll({ db: { image }, web: { image: hosts(content) } }).pipe(
        Effect.match({ onFailure: ({ message }) => message, onSuccess: () => "accepted" })
      )

    for (const [what, content, said] of [
      ["that has other names", "127.0.0.1 localhost\n10.0.2.2 mirror\n", "accepted"],
      [
        "that gives a machine's name its own address",
        "192.168.1.1 db db.example.org\n2001:DB8:1:0::1 db\n",
        "accepted"
      ],
      ["that has a machine's name in a comment", "# 127.0.0.1 db\n127.0.0.1 localhost # db\n", "accepted"],
      [
        "that gives the name of another machine another address",
        "127.0.0.1 localhost\n10.0.0.5\tcache  DB # the database\n",
        'db: name must not be one that /etc/hosts of the image of web gives to another address, got "db", which is 10.0.0.5 there'
      ],
      [
        "that gives its machine's own name another address",
        Buffer.from("127.0.1.1 web"),
        'web: name must not be one that /etc/hosts of its image gives to another address, got "web", which is 127.0.1.1 there'
      ],
      [
        "that gives one machine's address to the other",
        "192.168.1.1 db web\n",
        'web: name must not be one that /etc/hosts of its image gives to another address, got "web", which is 192.168.1.1 there'
      ]
    ] as const) {
      it.effect(`${said === "accepted" ? "accepts" : "refuses"} one ${what}`, () =>
        Effect.gen(function* () {
          assert.strictEqual(yield* checked(content), said)
        })
      )
    }
  })

  it.effect("accepts no machines at all", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* MachineChecks.checkAll({}), [])
    })
  )
})
