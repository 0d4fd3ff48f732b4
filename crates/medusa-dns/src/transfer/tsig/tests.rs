//! Checked against what dnspython 2.3 makes of the same messages, and against changed ones.

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_700_000_000;

/// Algorithm, a query and the answer to it as dnspython signs them.
const SIGNED: &[(&str, &str, &str)] = &[
    (
        "hmac-sha1",
        concat!(
            "123401000001000000000001076578616d706c650474657374000006000104786665720000fa00ff0000",
            "0000002f09686d61632d736861310000006553f100012c0014f1013bfb680f1cf12a27515beeac981111",
            "4307ee123400000000",
        ),
        concat!(
            "123481000001000000000001076578616d706c650474657374000006000104786665720000fa00ff0000",
            "0000002f09686d61632d736861310000006553f100012c0014c8ae53d5013557cfc8d78f622a070ac439",
            "f54bae123400000000",
        ),
    ),
    (
        "hmac-sha224",
        concat!(
            "123401000001000000000001076578616d706c650474657374000006000104786665720000fa00ff0000",
            "000000390b686d61632d7368613232340000006553f100012c001c7971debc3311c737fe19d312a90d3f",
            "9f5beba8990dda8e872a2fb131123400000000",
        ),
        concat!(
            "123481000001000000000001076578616d706c650474657374000006000104786665720000fa00ff0000",
            "000000390b686d61632d7368613232340000006553f100012c001c31343e97608994deaaf422a9c84033",
            "8b9eb1a4bb2a81d14e82d0426e123400000000",
        ),
    ),
    (
        "hmac-sha256",
        concat!(
            "123401000001000000000001076578616d706c650474657374000006000104786665720000fa00ff0000",
            "0000003d0b686d61632d7368613235360000006553f100012c0020e150e5e1104d1ca70397ae38fb385d",
            "6e6b696d967ec5ca60c0433df3884395e3123400000000",
        ),
        concat!(
            "123481000001000000000001076578616d706c650474657374000006000104786665720000fa00ff0000",
            "0000003d0b686d61632d7368613235360000006553f100012c002003f9f681b8010fb859eae3189cd3bb",
            "f86f999ab3ad556121662b2045bab296ea123400000000",
        ),
    ),
    (
        "hmac-sha384",
        concat!(
            "123401000001000000000001076578616d706c650474657374000006000104786665720000fa00ff0000",
            "0000004d0b686d61632d7368613338340000006553f100012c00303206701d53cb5c0479f679e9e96e00",
            "d1d7f63c7165d44bda3292cd2e4437a0583c49bca918f0416645c997b7b7571889123400000000",
        ),
        concat!(
            "123481000001000000000001076578616d706c650474657374000006000104786665720000fa00ff0000",
            "0000004d0b686d61632d7368613338340000006553f100012c0030e832682c261413c96ded30020b4b36",
            "6d7a121ed1a01257176da9925cc3bf49d8159d6d51ac5d54dc55c5b01675e505df123400000000",
        ),
    ),
    (
        "hmac-sha512",
        concat!(
            "123401000001000000000001076578616d706c650474657374000006000104786665720000fa00ff0000",
            "0000005d0b686d61632d7368613531320000006553f100012c00404e1eb3a936a993ea5741b95f401904",
            "e49385632d81870cec8e731151e79a7aba57ab4d15c2457937fcb3c6b0d0cda1843b17a445864bfe9ae8",
            "1f8219b991e4c9123400000000",
        ),
        concat!(
            "123481000001000000000001076578616d706c650474657374000006000104786665720000fa00ff0000",
            "0000005d0b686d61632d7368613531320000006553f100012c0040d3c34ac3d893f03b479ebce6d5d086",
            "a62b4130abaff451031827483444c74520a7aaf1843cf724ff6978c41d4e0ab293a0239259f620104b9c",
            "8a50b1bc34e3ae123400000000",
        ),
    ),
];

/// A query for AXFR, and three messages that answer it.
const STREAM: &[&str] = &[
    concat!(
        "123401000001000000000001076578616d706c6504746573740000fc000104786665720000fa00ff0000",
        "0000003d0b686d61632d7368613235360000006553f100012c0020ac2f5b166a8bb42ff369b6b240c167",
        "47b94148267ac8cf6dc2497125409a84a8123400000000",
    ),
    concat!(
        "123481000001000000000001076578616d706c6504746573740000fc000104786665720000fa00ff0000",
        "0000003d0b686d61632d7368613235360000006553f100012c0020ce2b5c491398e68b115a303edb094f",
        "ca41305bcb84f426a468a3b26171588a55123400000000",
    ),
    concat!(
        "123481000001000000000001076578616d706c6504746573740000fc000104786665720000fa00ff0000",
        "0000003d0b686d61632d7368613235360000006553f100012c002055a1247d255e07c8aa6946d469ce22",
        "a3ffc7c4fbc149e10c980a224d776bb4c6123400000000",
    ),
    concat!(
        "123481000001000000000001076578616d706c6504746573740000fc000104786665720000fa00ff0000",
        "0000003d0b686d61632d7368613235360000006553f100012c0020e2d5553904df9559b4f9ddf09f8738",
        "b84a2151697640ec79cfb211e1725c3e32123400000000",
    ),
];

fn octets(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn key(algorithm: &str) -> Key {
    let name = Name::from_wire(b"\x04xfer\x00").unwrap();
    Key::new(name, Algorithm::named(algorithm).unwrap(), SECRET.to_vec())
}

fn keys(algorithm: &str) -> Keys {
    Keys::new([key(algorithm)])
}

/// The message without its signature.
fn bare(message: &[u8]) -> Vec<u8> {
    let at = locate(message).unwrap().unwrap();
    let mut bare = message[..at].to_vec();
    bare[11] -= 1;
    bare
}

fn verified(message: &[u8], keys: &Keys, now: u64) -> Result<Verified, Rejected> {
    verify(message, locate(message).unwrap().unwrap(), keys, now)
}

#[test]
fn signatures_are_those_of_dnspython() {
    for (algorithm, query, answer) in SIGNED {
        let (query, answer) = (octets(query), octets(answer));
        let keys = keys(algorithm);
        let found = verified(&query, &keys, NOW).unwrap();
        assert_eq!(found.key().algorithm.to_string(), *algorithm);
        let mut signer = found.into_signer();
        let mut made = bare(&answer);
        let room = signer.octets();
        signer.sign(&mut made, NOW);
        assert_eq!(made, answer, "{algorithm}");
        assert_eq!(made.len() - bare(&answer).len(), room);

        let mut made = bare(&query);
        let mut verifier = Signer::sign_request(&Arc::new(key(algorithm)), &mut made, NOW);
        assert_eq!(made, query, "{algorithm}");
        assert_eq!(verifier.check(&answer, NOW), Ok(()));
        assert!(verifier.is_settled());
    }
}

#[test]
fn a_stream_is_that_of_dnspython() {
    let messages: Vec<_> = STREAM.iter().map(|hex| octets(hex)).collect();
    let keys = keys("hmac-sha256");
    let mut signer = verified(&messages[0], &keys, NOW).unwrap().into_signer();
    let mut query = bare(&messages[0]);
    let mut verifier = Signer::sign_request(&Arc::new(key("hmac-sha256")), &mut query, NOW);
    for message in &messages[1..] {
        let mut made = bare(message);
        signer.sign(&mut made, NOW);
        assert_eq!(made, *message);
        assert_eq!(verifier.check(message, NOW), Ok(()));
    }
}

#[test]
fn messages_of_a_stream_may_come_unsigned() {
    let check = |unsigned: usize, change: bool| {
        let key = Arc::new(key("hmac-sha1"));
        let mut query = octets("0001000000010000000000000000060001");
        let mut verifier = Signer::sign_request(&key, &mut query, NOW);
        let keys = keys("hmac-sha1");
        let mut signer = verified(&query, &keys, NOW).unwrap().into_signer();
        let plain = octets("0001800000010000000000000000060001");
        let mut first = plain.clone();
        signer.sign(&mut first, NOW);
        verifier.check(&first, NOW)?;
        for _ in 0..unsigned {
            verifier.check(&plain, NOW)?;
            assert!(!verifier.is_settled());
        }
        // What a signer makes that leaves some out.
        let mut last = plain.clone();
        let mut algorithm = Vec::new();
        key.algorithm.name_into(&mut algorithm);
        let mut record = Record {
            name: key.name.clone(),
            class: class::ANY,
            ttl: 0,
            algorithm,
            time: NOW,
            fudge: FUDGE,
            mac: Vec::new(),
            original_id: 1,
            error: 0,
            other: Vec::new(),
        };
        let mut digest = key.digest();
        digest_prior(&mut digest, &signer.prior);
        for _ in 0..unsigned {
            digest.update(&plain);
        }
        digest.update(&plain);
        record.variables_into(&mut digest, true);
        record.mac = digest.finish();
        record.append(&mut last);
        if change {
            last[2] ^= 1;
        }
        verifier.check(&last, NOW)?;
        assert!(verifier.is_settled());
        Ok(())
    };
    assert_eq!(check(0, false), Ok(()));
    assert_eq!(check(99, false), Ok(()));
    assert_eq!(check(100, false), Err(SignatureError::Missing));
    assert_eq!(check(3, true), Err(SignatureError::Signature));
}

#[test]
fn no_octet_can_be_changed() {
    let (_, query, answer) = SIGNED[2];
    let (query, answer) = (octets(query), octets(answer));
    let keys = keys("hmac-sha256");
    // The id is for whoever passes the message on to change (RFC 8945 §5.3).
    for at in 2..query.len() {
        let mut changed = query.clone();
        changed[at] ^= 0x40;
        // The key's and the algorithm's names are compared without case, but signed in lower case.
        let same = at > 30 && changed.eq_ignore_ascii_case(&query);
        let holds = match locate(&changed) {
            Ok(Some(place)) => verify(&changed, place, &keys, NOW).is_ok(),
            _ => false,
        };
        assert_eq!(holds, same, "octet {at}");
    }
    for at in 2..answer.len() {
        let mut changed = answer.clone();
        changed[at] ^= 1;
        let mut made = bare(&query);
        let mut verifier = Signer::sign_request(&Arc::new(key("hmac-sha256")), &mut made, NOW);
        assert!(verifier.check(&changed, NOW).is_err(), "octet {at}");
    }
    for length in 0..query.len() {
        assert!(!matches!(locate(&query[..length]), Ok(Some(_))), "{length}");
    }
}

/// What a client makes of the refusal of its query.
fn refused(keys: &Keys, client: Key, now: u64) -> (Vec<u8>, Result<(), SignatureError>) {
    let mut query = octets("0001000000010000000000000000060001");
    let mut verifier = Signer::sign_request(&Arc::new(client), &mut query, NOW);
    let answer = verified(&query, keys, now).unwrap_err().answer(&query, now).unwrap();
    let heard = verifier.check(&answer, NOW);
    (answer, heard)
}

#[test]
fn refusals_are_told_and_signed_where_they_can_be() {
    let own = keys("hmac-sha256");
    let told = |answer: &[u8]| {
        assert_eq!(answer[3] & 0xF, 9);
        Record::read(answer, locate(answer).unwrap().unwrap()).unwrap()
    };
    let (answer, heard) = refused(&own, key("hmac-sha1"), NOW);
    assert_eq!(heard, Err(SignatureError::Refused("BADKEY")));
    assert!(told(&answer).mac.is_empty());

    let mut other = key("hmac-sha256");
    other.secret[0] ^= 1;
    let (answer, heard) = refused(&own, other, NOW);
    assert_eq!(heard, Err(SignatureError::Refused("BADSIG")));
    assert!(told(&answer).mac.is_empty());

    for now in [NOW - 301, NOW + 301] {
        let (answer, heard) = refused(&own, key("hmac-sha256"), now);
        assert_eq!(heard, Err(SignatureError::Refused("BADTIME")));
        assert_eq!(told(&answer).other, now.to_be_bytes()[2..]);
        assert_eq!(told(&answer).time, NOW);
    }
    let (_, heard) = refused(&own, key("hmac-sha256-128"), NOW);
    assert_eq!(heard, Err(SignatureError::Refused("BADTRUNC")));
}

#[test]
fn what_is_cut_is_taken_as_far_as_it_was_agreed_upon() {
    let sign = |algorithm: &str| {
        let mut query = octets("0001000000010000000000000000060001");
        Signer::sign_request(&Arc::new(key(algorithm)), &mut query, NOW);
        query
    };
    assert!(verified(&sign("hmac-sha256-128"), &keys("hmac-sha256-128"), NOW).is_ok());
    assert!(verified(&sign("hmac-sha256"), &keys("hmac-sha256-128"), NOW).is_ok());
    let cut = verified(&sign("hmac-sha256-128"), &keys("hmac-sha256"), NOW).unwrap_err();
    assert_eq!((cut.rcode, cut.reason()), (Rcode::NOTAUTH, "BADTRUNC"));
    // Less than half is no signature at all.
    let mut query = octets("0001000000010000000000000000060001");
    let mut short = key("hmac-sha256-128");
    short.algorithm.octets = 15;
    Signer::sign_request(&Arc::new(short), &mut query, NOW);
    let rejected = verified(&query, &keys("hmac-sha256-128"), NOW).unwrap_err();
    assert_eq!((rejected.rcode, rejected.reason()), (Rcode::FORMERR, "FORMERR"));
    for (name, fine) in [
        ("HMAC-SHA256.", true),
        ("hmac-sha256-128", true),
        ("hmac-sha1-80", true),
        ("hmac-sha1-72", false),
        ("hmac-sha256-120", false),
        ("hmac-sha256-129", false),
        ("hmac-sha256-512", false),
        ("hmac-md5", false),
        ("sha256", false),
    ] {
        assert_eq!(Algorithm::named(name).is_some(), fine, "{name}");
    }
}

#[test]
fn a_secret_is_not_shown() {
    let shown = format!("{:?}", key("hmac-sha256"));
    assert_eq!(shown, "Key(xfer., hmac-sha256, secret not shown)");
}
