//! Serves the embedded program on 127.0.0.1:2122, or where the first argument says.

use medusa_core::Server;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2122".to_owned());
    let server = Server::builder().mount(Box::new(embed_ftp::service(listen.parse()?))).bind()?;
    for bound in server.bound() {
        println!("{} on ftp://{}: {}", bound.service, bound.address, bound.summary);
    }
    server.run()?;
    Ok(())
}
