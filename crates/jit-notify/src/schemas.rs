//! The schema in `docs/schemas` of what `jit-notify status -o json` prints.

#[path = "../../../tests/support/shapes.rs"]
mod shapes;

use crate::status::Status;

#[test]
fn the_schema_is_that_of_the_type() {
    shapes::are_golden(&[("channels", shapes::schema::<Vec<Status>>("jit-notify status"))]);
}
