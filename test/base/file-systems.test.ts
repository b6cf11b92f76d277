import { tmpdir } from 'node:os';
import t from 'tap';
import { fileSystemOf, mountedAs } from '#base/file-systems.ts';

const MOUNTS = String.raw`21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 21 0:40 / /home rw - autofs systemd-1 rw
31 30 0:41 / /home/alice rw shared:7 - fuse.sshfs alice@far:/home rw
32 21 0:42 / /with\040space rw - nfs4 filer:/x rw
33 21 0:43 / /scratch rw - fuse.fuse-overlayfs fuse rw
34 21 0:44 / /scratch rw - lustre mds@tcp:/s rw`;

t.test('a path belongs to the deepest mount above it, and to the last of two at one place', async (t) => {
  t.equal(mountedAs('/home/alice/farfield', MOUNTS), 'fuse.sshfs');
  t.equal(mountedAs('/home/alicette', MOUNTS), 'autofs');
  t.equal(mountedAs('/home/alice', MOUNTS), 'fuse.sshfs');
  t.equal(mountedAs('/with space/a', MOUNTS), 'nfs4');
  t.equal(mountedAs('/scratch/x', MOUNTS), 'lustre');
  t.equal(mountedAs('/var/lib', MOUNTS), 'ext4');
});

t.test('file systems of several hosts are known by their number, and FUSE by its name', async (t) => {
  const of = (type: number, mounts = MOUNTS): unknown =>
    fileSystemOf(tmpdir(), { typeOf: () => type, mounts: () => mounts });
  t.strictSame(of(0x6969), { name: 'NFS', kind: 'network' });
  t.strictSame(of(0x0bd00bd0), { name: 'Lustre', kind: 'network' });
  t.strictSame(of(0x47504653), { name: 'GPFS (Storage Scale)', kind: 'network' });
  t.strictSame(of(0xff534d42 | 0), { name: 'CIFS', kind: 'network' }, 'a negative number, as some platforms give it');
  t.strictSame(of(0xef53), { name: 'ext4', kind: 'local' });
  t.strictSame(of(0x01021994), { name: 'tmpfs', kind: 'memory' });
  t.strictSame(of(0x12345678), { name: 'type 0x12345678', kind: 'unknown' });
  const fuse = (name: string): unknown => of(0x65735546, `1 1 0:1 / / rw - ${name} x rw`);
  t.strictSame(fuse('fuse.sshfs'), { name: 'fuse.sshfs', kind: 'network' });
  t.strictSame(fuse('fuse.glusterfs'), { name: 'fuse.glusterfs', kind: 'network' });
  t.strictSame(fuse('fuse.fuse-overlayfs'), { name: 'fuse.fuse-overlayfs', kind: 'local' });
});

t.test('the system is asked about a real folder', async (t) => {
  t.match(fileSystemOf('/proc'), { kind: 'unknown', name: 'type 0x9fa0' });
  t.ok(['local', 'memory', 'network', 'unknown'].includes(fileSystemOf(tmpdir()).kind));
});
