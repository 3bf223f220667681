//! The tests that take longest, most of it waiting: for what the daemon compares once a minute, for the end of a long
//! window, for what has to be refused several times. The harness starts tests in the order of their names, so these start first and the others run beside them.
//! Each stands with the other tests of its subject.

#[test]
fn a_cluster_that_hangs_holds_up_no_end_of_another() {
    crate::outage::a_cluster_that_hangs_holds_up_no_end_of_another();
}

#[test]
fn ca_lost_or_stolen() {
    crate::runbooks::ca_lost_or_stolen();
}

#[test]
fn check_compares_the_ceilings() {
    crate::exact::check_compares_the_ceilings();
}

#[test]
fn check_names_exactly_what_is_wrong_with_a_cluster() {
    crate::wall::check_names_exactly_what_is_wrong_with_a_cluster();
}

#[test]
fn host_rebuilt() {
    crate::runbooks::host_rebuilt();
}

#[test]
fn the_python_client_works_for_a_whole_window() {
    crate::gateway_clients::the_python_client_works_for_a_whole_window();
}

#[test]
fn the_tutorial_is_true() {
    crate::tutorial::the_tutorial_is_true();
}

#[test]
fn what_cannot_be_looked_at_is_told() {
    crate::outage::what_cannot_be_looked_at_is_told();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_api_server_grants_is_found() {
    crate::risk::what_the_api_server_grants_is_found().await;
}
