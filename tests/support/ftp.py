# What Python's ftplib is made to do by tests/ftp_clients.rs: host, port, a folder for what is fetched, and
# the mode: plain, active, explicit or implicit. The last line says that all of it was as it should be.
import ftplib
import io
import os
import socket
import ssl
import sys

host, port, folder, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
secured = mode in ("explicit", "implicit")


class Resuming(ftplib.FTP_TLS):
    """ftplib begins a new TLS session for each data connection unless it is told the old one."""

    def ntransfercmd(self, cmd, rest=None):
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        if self._prot_p:
            conn = self.context.wrap_socket(
                conn, server_hostname=self.host, session=self.sock.session
            )
        return conn, size


class Implicit(Resuming):
    """TLS from the first octet."""

    def connect(self, host, port, timeout):
        self.host, self.port, self.timeout = host, port, timeout
        plain = socket.create_connection((host, port), timeout)
        self.af = plain.family
        self.sock = self.context.wrap_socket(plain, server_hostname=host)
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()


context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
if mode == "implicit":
    ftp = Implicit(context=context)
elif mode == "explicit":
    ftp = Resuming(context=context)
else:
    ftp = ftplib.FTP()
ftp.connect(host, port, timeout=20)
if mode == "explicit":
    ftp.auth()
ftp.login("alice", "secret")
if secured:
    ftp.prot_p()
ftp.set_pasv(mode != "active")

big = bytes((n * 2654435761 >> 13) & 0xFF for n in range(300_000)) * 4
text = b"one\ntwo\n\nthree\n"
assert ftp.storbinary("STOR big.bin", io.BytesIO(big)).startswith("226")
got = bytearray()
ftp.retrbinary("RETR big.bin", got.extend)
assert got == big
got = bytearray()
ftp.retrbinary("RETR big.bin", got.extend, rest=1_000_000)
assert got == big[1_000_000:]
assert ftp.storbinary("STOR big.bin", io.BytesIO(big[-7:]), rest=len(big) - 7).startswith("226")
assert ftp.size("big.bin") == len(big)
ftp.storlines("STOR text.txt", io.BytesIO(text))
lines = []
ftp.retrlines("RETR text.txt", lines.append)
assert lines == ["one", "two", "", "three"], lines
ftp.voidcmd("TYPE I")
assert ftp.size("text.txt") == len(text)

assert ftp.mkd("a \"folder\"") == "/a \"folder\""
ftp.cwd("a \"folder\"")
assert ftp.pwd() == "/a \"folder\"", ftp.pwd()
ftp.cwd("..")
assert sorted(ftp.nlst()) == ["a \"folder\"", "big.bin", "text.txt"]
facts = dict(ftp.mlsd(facts=["type", "size"]))
assert facts["big.bin"] == {"type": "file", "size": str(len(big))}, facts
assert facts["a \"folder\""]["type"] == "dir"
shown = []
ftp.dir(shown.append)
assert len(shown) == 3, shown
ftp.rename("text.txt", "a \"folder\"/moved.txt")
ftp.cwd("a \"folder\"")
assert ftp.nlst() == ["moved.txt"]
ftp.delete("moved.txt")
ftp.cwd("/")
ftp.rmd("a \"folder\"")

# A download that is broken off: ftplib sends ABOR as urgent data, and its last octet, the LF, is lost to
# servers that don't look for it.
connection = ftp.transfercmd("RETR big.bin")
connection.recv(1000)
if not secured:
    assert ftp.abort().startswith(("226", "426")), "abort"
    connection.close()
    try:
        reply = ftp.getmultiline()
        assert reply.startswith(("226", "426")), reply
    except EOFError:
        raise AssertionError("the connection did not survive ABOR")
    assert ftp.pwd() == "/"
else:
    connection.close()
    try:
        reply = ftp.voidresp()
    except ftplib.error_temp as error:
        reply = str(error)
    assert reply.startswith(("226", "426")), reply

if mode == "plain":
    for wrong in ("RETR ../secret.txt", "RETR none"):
        try:
            ftp.retrbinary(wrong, print)
            raise SystemExit("reached " + wrong)
        except ftplib.error_perm as error:
            assert str(error).startswith("550"), error
with open(os.path.join(folder, "ftplib.bin"), "wb") as copy:
    ftp.retrbinary("RETR big.bin", copy.write)
assert ftp.quit().startswith("221")
print("all as it should be")
