//! The public face of one source.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::attach::{self, Headers};
use crate::block::block_on;
use crate::call::{self, Again, Answer, CallResult, Request, Response};
use crate::completion::{self, CompletionQueue, Pending};
use crate::custom::{self, Host, TokenCall, TokenFunction};
use crate::error::{Error, Result};
use crate::login::{self, LoggedOut, Login, LoginKind, LoginOptions};
use crate::profile::Narrowing;
use crate::provider::{GrantKind, Provider};
use crate::records;
use crate::registry::{Registry, SourceKey};
use crate::saving::Saving;
use crate::source::{Limit, Source};
use crate::token::{Published, Token};

/// The live object of one profile: a valid token whenever it is asked for one, or a clear error.
///
/// Cheap to clone; any thread, any number at once. The cached path takes no lock, no system call and no allocation.
#[derive(Clone)]
pub struct TokenSource {
    source: Arc<Source>,
    registry: Arc<Registry>,
}

/// How long a call may take and what its token must still be good for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenOptions {
    /// `None`: the profile's own limit (30 s unless set). Zero: cached tokens only, nothing is waited for.
    pub timeout: Option<Duration>,
    /// The token must live at least this long from now on.
    pub min_remaining: Duration,
}

/// How an operation is called, beside its parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallOptions {
    /// For its token; the timeout is for token and call together.
    pub token: TokenOptions,
    /// Where the operation makes a new client: the name of the profile that it becomes, a file `profiles.d/NAME.toml` beside
    /// the configuration. It is written durably, for its owner alone, before the answer is given, and works at once.
    pub save_as: Option<String>,
}

impl TokenSource {
    pub(crate) fn new(source: Arc<Source>, registry: Arc<Registry>) -> TokenSource {
        TokenSource { source, registry }
    }

    /// The profile's name.
    pub fn profile(&self) -> String {
        self.source.profile().name.clone()
    }

    /// The provider's name.
    pub fn provider(&self) -> Provider {
        self.source.profile().provider.clone()
    }

    /// The API's base address, which the provider's `api_path` and a call's own path follow; `None` for a profile without
    /// one, which can `token()` and `header()`.
    pub fn api_base_url(&self) -> Option<String> {
        self.source.profile().api_base_url.clone()
    }

    /// The name of the header that carries the token: `Authorization` unless the provider says otherwise.
    pub fn header_name(&self) -> String {
        self.source.profile().provider.definition().attach.header.clone()
    }

    /// A cached token that needs no thought: not even about to be renewed. Never blocks, never starts anything.
    pub fn cached(&self) -> Option<Token> {
        self.with_cached(|token| token.to_token())
    }

    /// Lends the valid token to `use_it` without counting references: the fast path, flat over threads. Blocks like
    /// [`TokenSource::token_blocking`] where none is cached.
    ///
    /// # Errors
    /// As [`TokenSource::token`].
    #[inline(always)]
    pub fn with_token<R>(&self, use_it: impl FnOnce(TokenRef<'_>) -> R) -> Result<R> {
        if let Some(guard) = self.source.hot()
            && let Some(published) = guard.as_ref()
        {
            return Ok(use_it(TokenRef(published)));
        }
        let token = self.token_blocking(TokenOptions::default())?;
        Ok(use_it(TokenRef(token.published())))
    }

    /// Lends the token like [`TokenSource::with_token`], from the cache alone. `None` where none is cached that needs no
    /// thought. Never blocks, never starts anything.
    #[inline(always)]
    pub fn with_cached<R>(&self, use_it: impl FnOnce(TokenRef<'_>) -> R) -> Option<R> {
        let guard = self.source.hot()?;
        guard.as_ref().map(|published| use_it(TokenRef(published)))
    }

    /// A valid token: cached, or by a renewal. On any executor, or none.
    ///
    /// # Errors
    /// What the renewal met, shared by everybody who waited for it; `timeout` when the call's limit is reached, while the
    /// renewal goes on; `closed`.
    pub async fn token(&self, options: TokenOptions) -> Result<Token> {
        if options.min_remaining.is_zero()
            && let Some(token) = self.cached()
        {
            return Ok(token);
        }
        self.about(self.served(Host::Here, self.obtain(options)).await)
    }

    async fn obtain(&self, options: TokenOptions) -> Result<Token> {
        self.source.token(self.limit(options)).await.map(Token::new)
    }

    /// Waits for `work`; where the host's own function gives the tokens, it runs meanwhile, here or on its queue.
    async fn served<T>(&self, host: Host, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.source.function() {
            None => work.await,
            Some(function) => custom::serve(self.source.desk(), &function, host, work).await,
        }
    }

    /// The same for a thread that may block.
    ///
    /// # Errors
    /// As [`TokenSource::token`].
    pub fn token_blocking(&self, options: TokenOptions) -> Result<Token> {
        match self.cached() {
            Some(token) if options.min_remaining.is_zero() => Ok(token),
            _ => {
                self.about(block_on(self.served(Host::Here, self.source.token(self.blocking(options)))).map(Token::new))
            }
        }
    }

    /// Everything that a request to `url` (a path below the API address, or a whole URL) must carry.
    ///
    /// # Errors
    /// As [`TokenSource::token`]; `invalid_argument` for a host that is not the profile's; `config` where the profile has
    /// no API address.
    pub async fn headers(&self, method: &str, url: &str, options: TokenOptions) -> Result<Headers> {
        let work = call::headers(&self.source, method, url, self.limit(options));
        self.about(self.served(Host::Here, work).await)
    }

    /// The same for a thread that may block.
    ///
    /// # Errors
    /// As [`TokenSource::headers`].
    pub fn headers_blocking(&self, method: &str, url: &str, options: TokenOptions) -> Result<Headers> {
        let work = call::headers(&self.source, method, url, self.blocking(options));
        self.about(block_on(self.served(Host::Here, work)))
    }

    /// The value of the one header that carries the token, for instance `Bearer eyJ…`, copied out by `use_it`. Blocks like
    /// [`TokenSource::token_blocking`] where none is cached.
    ///
    /// # Errors
    /// `unsupported` where one constant header is not enough; else as [`TokenSource::token`].
    #[inline(always)]
    pub fn with_header<R>(&self, options: TokenOptions, use_it: impl FnOnce(&str) -> R) -> Result<R> {
        self.check_single_header()?;
        if options.min_remaining.is_zero()
            && let Some(guard) = self.source.hot()
            && let Some(published) = guard.as_ref()
        {
            return Ok(use_it(&published.header));
        }
        Ok(use_it(self.token_blocking(options)?.header_value()))
    }

    /// Whether [`TokenSource::header`] and its like can serve this profile.
    ///
    /// # Errors
    /// `unsupported` where one constant header is not enough.
    #[inline(always)]
    pub fn check_single_header(&self) -> Result<()> {
        match self.source.has_companion_headers() {
            true => self.about(attach::check_single_header(&self.source.profile())),
            false => Ok(()),
        }
    }

    /// The same for the header's value: `None` also where one constant header is not enough.
    #[inline(always)]
    pub fn with_cached_header<R>(&self, use_it: impl FnOnce(TokenRef<'_>) -> R) -> Option<R> {
        if self.source.has_companion_headers() {
            return None;
        }
        self.with_cached(use_it)
    }

    /// The same as a text of its own.
    ///
    /// # Errors
    /// As [`TokenSource::with_header`].
    pub fn header(&self) -> Result<String> {
        self.with_header(TokenOptions::default(), str::to_owned)
    }

    /// Calls the API with the token attached. Every status is a result; a 401 leads to one new token and one more try, a
    /// 403 to neither; a redirect is returned, never followed.
    ///
    /// # Errors
    /// Of the token, or of the transport; `invalid_argument` for a host that is not the profile's.
    pub async fn request(&self, request: &Request) -> Result<Response> {
        self.served(Host::Here, self.send(request)).await
    }

    async fn send(&self, request: &Request) -> Result<Response> {
        let limit = self.limit(TokenOptions { timeout: request.timeout, ..TokenOptions::default() });
        self.on_runtime({
            let (source, request) = (self.source.clone(), request.clone());
            async move { call::request(&source, &request, limit).await }
        })
        .await
    }

    /// The same for a thread that may block.
    ///
    /// # Errors
    /// As [`TokenSource::request`].
    pub fn request_blocking(&self, request: &Request) -> Result<Response> {
        block_on(self.request(request))
    }

    /// Runs an operation that the provider file declares.
    ///
    /// # Errors
    /// As [`TokenSource::request`]; statuses that are no success are errors too: `access_denied`, `invalid_argument`,
    /// `rate_limited`, `server_error`. With [`CallOptions::save_as`], before anything is sent: `invalid_argument` for a
    /// name that is taken (by a provider too) or none, and for an operation that makes no client; `config` where the engine is of no file;
    /// `store` where the profile's could not be written. After it: `store` and `protocol`, with [`Error::answer`].
    pub async fn call(
        &self,
        operation: &str,
        parameters: &Map<String, Value>,
        options: CallOptions,
    ) -> Result<CallResult> {
        self.served(Host::Here, self.run(operation, parameters, options)).await
    }

    async fn run(&self, operation: &str, parameters: &Map<String, Value>, options: CallOptions) -> Result<CallResult> {
        let limit = self.limit(options.token);
        let (source, operation, parameters) = (self.source.clone(), operation.to_owned(), parameters.clone());
        let Some(name) = options.save_as else {
            return self
                .on_runtime(async move { call::call(&source, &operation, &parameters, None, limit).await })
                .await;
        };
        let registry = self.registry.clone();
        let work = async move {
            let saving = Saving::prepare(&registry, &source.profile(), &operation, &name).await?;
            // A secret that is shown once is on its way.
            let _critical = source.core.running()?.critical();
            let result = call::call(&source, &operation, &parameters, None, limit).await?;
            saving.finish(&source.profile(), result).await
        };
        self.about(self.source.core.to_the_end(work).await)
    }

    /// The same for a thread that may block.
    ///
    /// # Errors
    /// As [`TokenSource::call`].
    pub fn call_blocking(
        &self,
        operation: &str,
        parameters: &Map<String, Value>,
        options: CallOptions,
    ) -> Result<CallResult> {
        block_on(self.call(operation, parameters, options))
    }

    /// Asks for a token without waiting: `done` is put on `queue` with the result, exactly once, and runs on the host's
    /// thread that runs the queue.
    ///
    /// # Errors
    /// `closed`, and `internal` when no thread can be started; then `done` is not called.
    pub fn token_queued(
        &self,
        options: TokenOptions,
        queue: &CompletionQueue,
        done: impl FnOnce(Result<Token>) + Send + 'static,
    ) -> Result<Pending> {
        let source = self.clone();
        self.queued(queue, async move { source.about(source.obtain(options).await) }, done)
    }

    /// The same for [`TokenSource::request`].
    ///
    /// # Errors
    /// As [`TokenSource::token_queued`].
    pub fn request_queued(
        &self,
        request: Request,
        queue: &CompletionQueue,
        done: impl FnOnce(Result<Response>) + Send + 'static,
    ) -> Result<Pending> {
        let source = self.clone();
        self.queued(queue, async move { source.send(&request).await }, done)
    }

    /// The same for [`TokenSource::call`].
    ///
    /// # Errors
    /// As [`TokenSource::token_queued`].
    pub fn call_queued(
        &self,
        operation: String,
        parameters: Map<String, Value>,
        options: CallOptions,
        queue: &CompletionQueue,
        done: impl FnOnce(Result<CallResult>) + Send + 'static,
    ) -> Result<Pending> {
        let source = self.clone();
        self.queued(queue, async move { source.run(&operation, &parameters, options).await }, done)
    }

    fn queued<T: Send + 'static>(
        &self,
        queue: &CompletionQueue,
        work: impl Future<Output = Result<T>> + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) -> Result<Pending> {
        let running = self.about(self.source.core.running())?;
        let (source, host) = (self.clone(), Host::Queue(queue.clone()));
        Ok(completion::submit(running, queue, async move { source.served(host, work).await }, done))
    }

    /// The same for [`TokenSource::headers`].
    ///
    /// # Errors
    /// As [`TokenSource::token_queued`].
    pub fn headers_queued(
        &self,
        method: String,
        url: String,
        options: TokenOptions,
        queue: &CompletionQueue,
        done: impl FnOnce(Result<Headers>) + Send + 'static,
    ) -> Result<Pending> {
        let source = self.clone();
        let limit = self.limit(options);
        let work = async move { source.about(call::headers(&source.source, &method, &url, limit).await) };
        self.queued(queue, work, done)
    }

    /// The API rejected this token. Acts only if it is still the current one; the next caller then gets a new one.
    /// Returns whether it acted.
    pub fn invalidate(&self, token: &Token) -> bool {
        self.source.invalidate(token.generation(), Some(token.access_token()))
    }

    /// The same by the token's generation.
    pub fn invalidate_generation(&self, generation: u64) -> bool {
        self.source.invalidate(generation, None)
    }

    /// For those who send requests with a client of their own: what the API answered to a request to `url` that carried
    /// headers of this source. A 401 invalidates their token; a nonce for DPoP is kept for the next proof. Says whether to
    /// send the request once more with fresh headers, and why: for each reason once.
    ///
    /// # Errors
    /// `invalid_argument` for what is no URL.
    pub fn answered(&self, url: &str, answer: &Answer<'_>) -> Result<Option<Again>> {
        self.about(call::answered(&self.source, url, answer))
    }

    /// The whole URL of a path below the API address; a whole URL as it is, whatever its host.
    ///
    /// # Errors
    /// `invalid_argument` for what is neither; `config` where the profile has no API address.
    pub fn resolve(&self, target: &str) -> Result<String> {
        self.about(attach::resolve(&self.source.profile(), target).map(String::from))
    }

    /// Whether a request to `url` (a path below the API address, or a whole URL) may carry this profile's headers. A client
    /// that follows a redirect drops them where it may not.
    pub fn allows(&self, url: &str) -> bool {
        let profile = self.source.profile();
        attach::resolve(&profile, url).and_then(|url| attach::check_host(&profile, &url)).is_ok()
    }

    /// Forgets remembered failures and pauses: the next call tries again at once.
    pub fn reset(&self) {
        self.source.reset();
    }

    /// Replaces keys of the profile, for instance a secret. Tokens of the old ones are not served any more.
    ///
    /// # Errors
    /// `config`, naming the field; then nothing has changed.
    pub fn update(&self, changes: &Map<String, Value>) -> Result<()> {
        self.about(self.source.update(changes))
    }

    /// A source of the same profile whose tokens are narrowed to this scope, audience or resource. The same narrowing gives
    /// the same source.
    ///
    /// # Errors
    /// `config` where the provider's grant does not send it.
    pub fn scoped(&self, scope: Option<&str>, audience: Option<&str>, resource: Option<&str>) -> Result<TokenSource> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let narrowing = Narrowing { scope: own(scope), audience: own(audience), resource: own(resource) };
        let made = self.about(self.source.narrowed(narrowing))?;
        let source = self.registry.get_or_make(SourceKey::narrowed(&made.profile()), || Ok(made))?;
        Ok(TokenSource::new(source, self.registry.clone()))
    }

    /// What a person has to do before there is a token; `None` for grants that need nobody.
    pub fn login_kind(&self) -> Option<LoginKind> {
        LoginKind::of(self.source.profile().grant)
    }

    /// The file that keeps the refresh token of a sign-in: the profile's `refresh_token = "file:PATH"`.
    pub fn login_file(&self) -> Option<PathBuf> {
        self.source.profile().signed_in.as_ref()?.file.clone()
    }

    /// Begins a person's sign-in: [`Login`] says what to show and do, and ends with the source's new token.
    ///
    /// # Errors
    /// `unsupported` for a grant that needs no person; `invalid_argument` for a redirect URI that cannot be; `config` and
    /// `store` where the refresh token could not be kept; else what the server said.
    pub async fn begin_login(&self, options: LoginOptions) -> Result<Login> {
        let work = login::begin(self.source.clone(), options);
        self.about(self.source.core.while_awaited(work).await)
    }

    /// The same for a thread that may block.
    ///
    /// # Errors
    /// As [`TokenSource::begin_login`].
    pub fn begin_login_blocking(&self, options: LoginOptions) -> Result<Login> {
        block_on(self.begin_login(options))
    }

    /// Signs out: the provider's operation `revoke` ends the tokens at the server (RFC 7009), those known here are forgotten
    /// whatever it says, and the profile's file with the refresh token is deleted. A profile that can sign in by itself
    /// does so at the next call. Tokens that other sources and processes hold are theirs to forget.
    ///
    /// # Errors
    /// `store`: the file could not be deleted; `closed`.
    pub async fn logout(&self) -> Result<LoggedOut> {
        let work = login::logout(self.source.clone());
        self.about(self.source.core.to_the_end(work).await)
    }

    /// The same for a thread that may block.
    ///
    /// # Errors
    /// As [`TokenSource::logout`].
    pub fn logout_blocking(&self) -> Result<LoggedOut> {
        block_on(self.logout())
    }

    /// Forgets what the store holds of this source, for every process that shares it: its tokens, and what is remembered of
    /// failures. No server is told: the tokens stay good until their own end (see [`TokenSource::logout`]), and other processes
    /// serve theirs until they renew. Waits for a renewal under way. The next call obtains a token anew, with the profile's
    /// own refresh token if that is unspent; one that stood in the store alone is lost, and where only a person can bring
    /// another, a person must sign in again. Returns whether there was anything to forget.
    ///
    /// # Errors
    /// `timeout`: somebody else's renewal took longer than the profile's limit; `store` and `store_unavailable`; `closed`.
    pub async fn clear(&self) -> Result<bool> {
        let work = records::clear(self.registry.clone(), self.source.clone());
        self.about(self.source.core.to_the_end(work).await)
    }

    /// The same for a thread that may block.
    ///
    /// # Errors
    /// As [`TokenSource::clear`].
    pub fn clear_blocking(&self) -> Result<bool> {
        block_on(self.clear())
    }

    pub(crate) fn set_function(&self, function: Arc<dyn TokenFunction>) -> Result<()> {
        if self.source.profile().grant != GrantKind::Custom {
            return self.about(Err(Error::config("grant: expected custom: the profile's own grant needs no function")));
        }
        self.source.set_function(function);
        Ok(())
    }

    /// Whether this call of a token function is to bring this source's own token.
    pub fn waits_for(&self, call: &TokenCall) -> bool {
        call.is_of(self.source.desk())
    }

    /// Runs a call on the engine's runtime, so that it needs none of the caller's; giving up ends it there too.
    async fn on_runtime<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        self.about(self.source.core.while_awaited(work).await)
    }

    #[cfg(test)]
    pub(crate) fn inner(&self) -> Arc<Source> {
        self.source.clone()
    }

    /// The limit of a thread that may wait itself, unless it may have to run the host's function meanwhile.
    fn blocking(&self, options: TokenOptions) -> Limit {
        Limit { blocking: !self.source.has_function(), ..self.limit(options) }
    }

    fn limit(&self, options: TokenOptions) -> Limit {
        let timeout = options.timeout.unwrap_or_else(|| self.source.profile().timeout);
        let until = (!timeout.is_zero()).then(|| Instant::now() + timeout.min(Duration::from_secs(86_400)));
        Limit { until, min_remaining: options.min_remaining, blocking: false }
    }

    fn about<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            let profile = self.source.profile();
            error.about(&profile.name, profile.provider.name())
        })
    }
}

impl Drop for TokenSource {
    fn drop(&mut self) {
        self.source.touch();
    }
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenSource({:?})", self.source.profile())
    }
}

/// A token that is only lent: what [`TokenSource::with_token`] gives.
#[derive(Clone, Copy)]
pub struct TokenRef<'a>(&'a Arc<Published>);

impl TokenRef<'_> {
    /// The access token itself. Keep it out of logs.
    pub fn access_token(&self) -> &str {
        self.0.access_token()
    }

    /// The value for the header that carries it.
    pub fn header_value(&self) -> &str {
        &self.0.header
    }

    /// Counts the tokens of this source upwards: within one process it names one token, for values that are kept by it.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// The token as a value that outlives the loan.
    pub fn to_token(&self) -> Token {
        Token::new(self.0.clone())
    }
}
