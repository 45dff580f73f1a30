/** The service of an application: sites that are published, wherever that is. Nothing here knows of virtual machines. */
import { Context, Data, type Effect } from "effect"

/** A page is not there. */
export class PageMissing extends Data.TaggedError("PageMissing")<{ readonly path: string }> {}

/** The servers of a site cannot be used, whatever they are. */
export class SiteDown extends Data.TaggedError("SiteDown")<{ readonly reason: string }> {}

/** A site. */
export class Sites extends Context.Service<
  Sites,
  {
    /** Puts a page where readers find it. */
    readonly publish: (path: string, text: string) => Effect.Effect<void, SiteDown>
    /** What a reader gets. */
    readonly read: (path: string) => Effect.Effect<string, PageMissing | SiteDown>
  }
>()("app/Sites") {}
