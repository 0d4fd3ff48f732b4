//! The rules of the house, as a part of `cargo test --workspace`.

use xtask::tidy;

#[test]
fn the_house_is_tidy() {
    let house = tidy::House::of_this_workspace().expect("the workspace can be looked at");
    assert!(house.files.len() > 20, "found {} files only", house.files.len());
    assert!(house.packages.len() > 5, "found {} packages only", house.packages.len());
    let report = tidy::check(&house);
    assert!(report.passed(), "\n{report}");
}
