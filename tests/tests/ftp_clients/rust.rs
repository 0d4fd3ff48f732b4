//! suppaftp, a client in Rust, over TLS of our own: it takes any, and brings no second one along then.

use std::fmt;
use std::net::TcpStream;

use medusa_core::testing::SecuredStream;
use medusa_core::tls::{ClientTls, Roots};
use medusa_ftp::Uploads;
use suppaftp::types::FileType;
use suppaftp::{FtpError, FtpResult, ImplFtpStream, Mode, TlsConnector, TlsStream};

use super::fixture::{Ftp, large};

struct Connector(ClientTls);

struct Secured(SecuredStream);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secured")
    }
}

impl TlsConnector for Connector {
    type Stream = Secured;

    fn connect(&self, domain: &str, stream: TcpStream) -> FtpResult<Secured> {
        let secured = SecuredStream::handshake(stream, &self.0, domain);
        secured.map(Secured).map_err(FtpError::ConnectionError)
    }
}

impl TlsStream for Secured {
    type InnerStream = SecuredStream;

    fn tcp_stream(self) -> FtpResult<TcpStream> {
        self.0.socket().try_clone().map_err(FtpError::ConnectionError)
    }

    fn get_ref(&self) -> &TcpStream {
        self.0.socket()
    }

    fn mut_ref(&mut self) -> &mut SecuredStream {
        &mut self.0
    }
}

/// What was sent is whole only with TLS's word for it.
impl Drop for Secured {
    fn drop(&mut self) {
        let _ = self.0.close();
    }
}

/// A connection of suppaftp, logged in.
fn logged_in(ftp: &Ftp, is_secured: bool) -> ImplFtpStream<Secured> {
    let mut stream = ImplFtpStream::connect(ftp.explicit).expect("connected");
    if is_secured {
        // One of these for both connections, so that the data's resumes the control's session.
        let client = ClientTls::new(&Roots::Anyone, &[]).expect("TLS");
        stream = stream.into_secure(Connector(client), "localhost").expect("TLS");
    }
    stream.login("alice", "secret").expect("logged in");
    stream.transfer_type(FileType::Binary).expect("TYPE I");
    stream
}

#[test]
fn suppaftp_does_all_it_can() {
    let modes = [Mode::Passive, Mode::ExtendedPassive, Mode::Active];
    for (mode, is_secured) in modes.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
        let ftp = Ftp::with(Uploads::Resumable);
        let mut stream = logged_in(&ftp, is_secured);
        stream.set_mode(mode);
        assert!(stream.feat().expect("FEAT").contains_key("MLST"));
        stream.mkdir("a folder").expect("MKD");
        stream.cwd("a folder").expect("CWD");
        assert_eq!(stream.pwd().expect("PWD"), "/a folder");
        stream.put_file("big", &mut &large()[..]).expect("STOR");
        assert_eq!(stream.size("big").expect("SIZE"), large().len());
        assert!(stream.retr_as_buffer("big").expect("RETR").into_inner() == large());
        stream.resume_transfer(1_999_990).expect("REST");
        let tail = stream.retr_as_buffer("big").expect("RETR").into_inner();
        assert_eq!(tail, &large()[1_999_990..], "{mode:?} {is_secured}");
        stream.append_file("big", &mut &b"more"[..]).expect("APPE");
        assert_eq!(stream.size("big").expect("SIZE"), large().len() + 4);
        stream.rename("big", "bigger").expect("RNTO");
        assert_eq!(stream.nlst(None).expect("NLST"), ["bigger"]);
        assert!(stream.list(None).expect("LIST")[0].ends_with(" bigger"));
        assert!(stream.mlst(Some("bigger")).expect("MLST").contains("size=2000004;"));
        let facts = stream.mlsd(None).expect("MLSD");
        assert!(facts.iter().any(|line| line.contains("type=file;size=2000004;")), "{facts:?}");
        assert!(stream.mdtm("bigger").is_ok());
        match stream.rm("none") {
            Err(FtpError::UnexpectedResponse(response)) => assert_eq!(response.status.code(), 550),
            other => panic!("{other:?}"),
        }
        stream.rm("bigger").expect("DELE");
        stream.cdup().expect("CDUP");
        stream.rmdir("a folder").expect("RMD");
        stream.quit().expect("QUIT");
    }
}

#[test]
fn suppaftp_goes_on_with_a_part() {
    let ftp = Ftp::with(Uploads::Resumable);
    let mut stream = logged_in(&ftp, false);
    let mut upload = stream.put_with_stream("big").expect("STOR");
    std::io::Write::write_all(&mut upload, &large()[..1_500_000]).expect("sent");
    // What has come when ABOR does is kept; it is the server that says how much that was.
    stream.abort(upload).expect("ABOR");
    assert!(!ftp.path("root/big").exists());
    let kept = stream.size("big").expect("SIZE");
    assert!(kept <= 1_500_000, "{kept}");
    stream.append_file("big", &mut &large()[kept..]).expect("APPE");
    assert!(ftp.content("root/big") == large());
}
