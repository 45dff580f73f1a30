/** What fields a description may have, and the first of one that it may not. */
import * as Predicate from "effect/Predicate"
import * as Spelling from "../../host/Spelling.ts"
import type {
  DebianOptions,
  DiskOptions,
  FileOptions,
  Image,
  SuiteOptions,
  TinyOptions,
  UnitOptions,
  UserOptions
} from "../Image.ts"

const suite: Spelling.FieldsOf<SuiteOptions> = { suite: true, mirror: true, kernelParameters: true }
const tiny: Spelling.FieldsOf<TinyOptions> = { files: true, modules: true, ...suite }
const debian: Spelling.FieldsOf<DebianOptions> = {
  packages: true,
  files: true,
  units: true,
  users: true,
  hostname: true,
  setup: true,
  ...suite
}
const disk: Spelling.FieldsOf<DiskOptions> = { path: true, format: true, kernel: true, initrd: true, cmdline: true }
const file: Spelling.FieldsOf<FileOptions> = { content: true, source: true, mode: true, owner: true }
const unit: Spelling.FieldsOf<UnitOptions> = { text: true, enabled: true }
const user: Spelling.FieldsOf<UserOptions> = { uid: true, groups: true, shell: true, password: true }

const ofTag: Readonly<Record<Image["_tag"], Readonly<Record<string, true>>>> = {
  TinyImage: tiny,
  DebianImage: debian,
  DiskImage: disk
}

/** Of what is in a description, by name. A file may be bytes. */
const ofMembers = { files: file, units: unit, users: user }

const inMembers = (image: Image, field: keyof typeof ofMembers): ReadonlyArray<Spelling.UnknownField | undefined> => {
  const members: unknown = Predicate.hasProperty(image, field) ? image[field] : undefined
  if (!Predicate.isObject(members)) return []
  return Object.entries(members)
    .filter(([, member]) => !ArrayBuffer.isView(member))
    .map(([name, member]) => Spelling.unknownField(member, ofMembers[field], { within: `${field}.${name}` }))
}

/** The first field of a description that nobody reads. */
export const unknownField = (image: Image): Spelling.UnknownField | undefined =>
  [
    Spelling.unknownField(image, ofTag[image._tag]),
    ...inMembers(image, "files"),
    ...inMembers(image, "units"),
    ...inMembers(image, "users")
  ].find(Predicate.isNotUndefined)
