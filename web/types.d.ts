/** What the page offers to scripts (docs/contracts.md) and modules that the server adds. */

interface Window {
  hartwell: {
    /** Settled once Python is up; rejects, saying why, when it cannot be. */
    ready: Promise<unknown>;
    /** Runs Python with top-level await; the last expression's value as JSON gives it. */
    python(code: string): Promise<any>;
    terminal: import("@xterm/xterm").Terminal;
  };
}

/** Present in workers only. */
declare var WorkerGlobalScope: unknown;

declare module "@xterm/xterm" {
  export type ITheme = Record<string, string>;
  export class Terminal {
    constructor(options?: Record<string, unknown>);
    readonly cols: number;
    readonly rows: number;
    readonly textarea: HTMLTextAreaElement | undefined;
    readonly modes: { applicationCursorKeysMode: boolean };
    readonly unicode: { activeVersion: string };
    readonly buffer: { active: { viewportY: number; baseY: number; length: number; getLine(y: number): any } };
    options: Record<string, unknown>;
    open(parent: HTMLElement): void;
    focus(): void;
    write(data: Uint8Array | string, done?: () => void): void;
    paste(data: string): void;
    loadAddon(addon: object): void;
    hasSelection(): boolean;
    getSelection(): string;
    attachCustomKeyEventHandler(handler: (event: KeyboardEvent) => boolean): void;
    onData(handler: (data: string) => void): void;
    onBinary(handler: (data: string) => void): void;
    onCursorMove(handler: () => void): void;
    onResize(handler: (size: { cols: number; rows: number }) => void): void;
  }
}

declare module "*/xterm.mjs" {
  export * from "@xterm/xterm";
}
declare module "*/addon-fit.mjs" {
  export class FitAddon {
    fit(): void;
  }
}
declare module "*/addon-serialize.mjs" {
  export class SerializeAddon {
    serialize(options?: { scrollback?: number }): string;
  }
}
declare module "*/addon-unicode11.mjs" {
  export class Unicode11Addon {}
}
declare module "*/addon-web-links.mjs" {
  export class WebLinksAddon {
    constructor(open: (event: MouseEvent, uri: string) => void);
  }
}
declare module "*/addon-webgl.mjs" {
  export class WebglAddon {
    onContextLoss(handler: () => void): void;
    dispose(): void;
  }
}
