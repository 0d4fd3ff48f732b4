//! Takes tickets on 127.0.0.1:8025, or where the first argument says, into the folder `tickets`.

use medusa_core::Server;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8025".to_owned());
    std::fs::create_dir_all("tickets")?;
    let service = embed_smtp::service(listen.parse()?, "tickets".into());
    let server = Server::builder().mount(service).bind()?;
    for bound in server.bound() {
        println!("{} on {}", bound.service, bound.address);
    }
    server.run()?;
    Ok(())
}
