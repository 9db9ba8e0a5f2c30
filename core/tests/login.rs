//! A person's sign-in and sign-out, against a server that answers by script.

mod login {
    mod code;
    mod device;
    mod logout;
    mod simulated;
    mod support;
}
