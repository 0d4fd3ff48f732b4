//! Serves the texts below `texts` on 127.0.0.1:8110, or where the first argument says.

use medusa_core::Server;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8110".to_owned());
    let service = embed_pop3::service(listen.parse()?, "texts".into());
    let server = Server::builder().mount(Box::new(service)).bind()?;
    for bound in server.bound() {
        println!("{} on {}", bound.service, bound.address);
    }
    server.run()?;
    Ok(())
}
