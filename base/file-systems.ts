/**
 * Which kind of file system a folder lies on: whether other hosts may write there, too.
 *
 * Numbers are those of statfs(2) and of each file system's own headers. FUSE is one number for many kinds, so its name is read
 * from the mount table.
 */
import { readFileSync, realpathSync, statfsSync } from 'node:fs';

export interface FileSystem {
  /** As its people call it. */
  readonly name: string;
  /** `network`: seen by several hosts. `memory`: gone after a restart. `unknown`: a number that is not listed here. */
  readonly kind: 'local' | 'network' | 'memory' | 'unknown';
}

const NETWORK: Readonly<Record<number, string>> = {
  26985: 'NFS',
  198183888: 'Lustre',
  1196443219: 'GPFS (Storage Scale)',
  428016422: 'BeeGFS',
  4283649346: 'CIFS',
  4266872130: 'SMB',
  20859: 'SMB',
  16914839: '9P',
  12805120: 'Ceph',
  1397113167: 'AFS',
  1799439955: 'AFS',
  1937076805: 'Coda',
  1952539503: 'OCFS2',
  18225520: 'GFS2',
  2866260714: 'PanFS',
  79457: 'StorNext',
  537068840: 'OrangeFS',
  2020557398: 'vboxsf',
  3133910204: 'VMware HGFS',
  1785031267: 'virtiofs',
};

const LOCAL: Readonly<Record<number, string>> = {
  61267: 'ext4',
  1481003842: 'XFS',
  2435016766: 'Btrfs',
  801189825: 'ZFS',
  4076150800: 'F2FS',
  3393526350: 'bcachefs',
  1382369651: 'ReiserFS',
  827541066: 'JFS',
  2035054128: 'overlay',
  1936094318: 'NTFS',
  19780: 'FAT',
  538032816: 'exFAT',
};

const MEMORY: Readonly<Record<number, string>> = { 16914836: 'tmpfs', 2240043254: 'ramfs' };

const FUSE = 0x65735546;
/** FUSE that is a disk of this machine. */
const LOCAL_FUSE = [
  'fuseblk',
  'fuse.fuse-overlayfs',
  'fuse.ntfs',
  'fuse.ntfs-3g',
  'fuse.exfat',
  'fuse.lxcfs',
  'fuse.mergerfs',
];

export interface FileSystemOptions {
  /** f_type of statfs, and the mount table; the system's by default. */
  readonly typeOf?: (path: string) => number;
  readonly mounts?: () => string;
}

/** Of an existing folder. */
export function fileSystemOf(path: string, options: FileSystemOptions = {}): FileSystem {
  const typeOf = options.typeOf ?? ((at: string) => statfsSync(at).type);
  // Some have the highest bit, which comes as a negative number on some platforms.
  const type = typeOf(path) >>> 0;
  const [network, local, memory] = [NETWORK[type], LOCAL[type], MEMORY[type]];
  if (network !== undefined) return { name: network, kind: 'network' };
  if (local !== undefined) return { name: local, kind: 'local' };
  if (memory !== undefined) return { name: memory, kind: 'memory' };
  if (type !== FUSE) return { name: `type 0x${type.toString(16)}`, kind: 'unknown' };
  const mounts = options.mounts ?? (() => readFileSync('/proc/self/mountinfo', 'utf8'));
  const name = mountedAs(realpathSync(path), mounts()) ?? 'fuse';
  return { name, kind: LOCAL_FUSE.includes(name) ? 'local' : 'network' };
}

/** The file system type of the mount that holds the path: the longest mount point above it, the latest of equals. */
export function mountedAs(path: string, mounts: string): string | undefined {
  let found: { point: string; type: string } | undefined;
  for (const line of mounts.split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const point = (before.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_, code: string) =>
      String.fromCharCode(Number.parseInt(code, 8)),
    );
    const holds = point === '/' || path === point || path.startsWith(`${point}/`);
    if (point !== '' && holds && point.length >= (found?.point.length ?? 0))
      found = { point, type: after.split(' ')[0] ?? '' };
  }
  return found?.type;
}
