//! The headers around a SIP message.
