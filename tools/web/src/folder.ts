// A folder of this machine as a source of files: the core asks by path, as it asks a server.

export interface Folder {
    readonly name: string;
    readonly files: ReadonlyMap<string, File>;
}

/** From an input that lets a folder be chosen: paths begin with the folder's own name. */
export function chosenFolder(list: FileList): Folder {
    const files = new Map<string, File>();
    let name = '';
    for (const file of list) {
        const [first = '', ...rest] = file.webkitRelativePath.split('/');
        name = first;
        files.set(rest.join('/'), file);
    }
    return { name, files };
}

/** From what was dropped; null where it is no folder. */
export async function droppedFolder(transfer: DataTransfer): Promise<Folder | null> {
    const root = [...transfer.items].map((item) => item.webkitGetAsEntry())
        .find((entry) => entry?.isDirectory) as FileSystemDirectoryEntry | undefined;
    if (!root) return null;
    const files = new Map<string, File>();
    await collect(root, '', files);
    return { name: root.name, files };
}

async function collect(folder: FileSystemDirectoryEntry, prefix: string,
                       files: Map<string, File>): Promise<void> {
    const reader = folder.createReader();
    // It gives a part at a time, and an empty one at the end.
    for (;;) {
        const entries = await new Promise<FileSystemEntry[]>((done, fail) => reader.readEntries(done, fail));
        if (entries.length === 0) return;
        for (const entry of entries) {
            const path = prefix + entry.name;
            if (entry.isDirectory) {
                await collect(entry as FileSystemDirectoryEntry, `${path}/`, files);
            } else {
                files.set(path, await new Promise<File>((done, fail) =>
                    (entry as FileSystemFileEntry).file(done, fail)));
            }
        }
    }
}

/** What `Assembly.open` takes for the folder. */
export function opener(folder: Folder) {
    return async (path: string): Promise<{ bytes: number; stream: ReadableStream<Uint8Array> }> => {
        const file = folder.files.get(path);
        if (!file) throw new DOMException('the folder has no such file', 'NotFoundError');
        return { bytes: file.size, stream: file.stream() };
    };
}
