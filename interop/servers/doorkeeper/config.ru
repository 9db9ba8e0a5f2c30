# Doorkeeper in the smallest Rails there is: `puma config.ru`, settings in the environment (see ../doorkeeper.py).
require 'json'
require 'action_controller/railtie'
require 'active_record/railtie'
require 'doorkeeper'

$stdout.sync = true
settings = JSON.parse(File.read(ENV.fetch('INTEROP_CONFIG')))
# Anything with an id is a resource owner.
Account = Struct.new(:id)

class App < Rails::Application
  config.load_defaults 6.1
  config.eager_load = false
  config.cache_classes = true
  config.secret_key_base = SecureRandom.hex(32)
  config.hosts.clear
  config.logger = Logger.new($stdout)
  config.log_level = :warn
  routes.append do
    use_doorkeeper { skip_controllers :applications, :authorized_applications }
    get '/api/whoami', to: 'api#whoami'
    get '/ready', to: ->(_env) { [200, {}, ['ready']] }
  end
end

ENV['DATABASE_URL'] = "sqlite3:#{settings.fetch('database')}?timeout=5000"

Doorkeeper.configure do
  orm :active_record
  base_controller 'ActionController::Base'
  grant_flows %w[authorization_code client_credentials password]
  default_scopes :public
  optional_scopes :orders, :write
  access_token_expires_in 300
  use_refresh_token
  # The same token again until this many percent of its life are over.
  reuse_access_token
  token_reuse_limit 90
  allow_token_introspection { |token, client, _other| client && (token.nil? || token.application == client) }
  # In a browser the first account is signed in already.
  resource_owner_authenticator { Account.new(1) }
  resource_owner_from_credentials do
    name = params[:username]
    Account.new(settings['users'].keys.index(name) + 1) if name && settings['users'][name] == params[:password]
  end
  skip_authorization { true }
  force_ssl_in_redirect_uri false
end

class ApiController < ActionController::API
  before_action { doorkeeper_authorize! :public, :orders }

  def whoami
    token = doorkeeper_token
    render json: { client_id: token.application&.uid, scope: token.scopes.to_s, expires_in: token.expires_in_seconds }
  end
end

App.initialize!

ActiveRecord::Schema.verbose = false
ActiveRecord::Schema.define do
  create_table :oauth_applications, force: true do |t|
    t.string :name, null: false
    t.string :uid, null: false, index: { unique: true }
    t.string :secret, null: false
    t.text :redirect_uri
    t.string :scopes, null: false, default: ''
    t.boolean :confidential, null: false, default: true
    t.timestamps null: false
  end
  create_table :oauth_access_grants, force: true do |t|
    t.integer :resource_owner_id, null: false
    t.references :application, null: false
    t.string :token, null: false, index: { unique: true }
    t.integer :expires_in, null: false
    t.text :redirect_uri, null: false
    t.datetime :created_at, null: false
    t.datetime :revoked_at
    t.string :scopes, null: false, default: ''
    t.string :code_challenge
    t.string :code_challenge_method
  end
  create_table :oauth_access_tokens, force: true do |t|
    t.integer :resource_owner_id
    t.references :application
    t.string :token, null: false, index: { unique: true }
    t.string :refresh_token, index: { unique: true }
    t.integer :expires_in
    t.datetime :revoked_at
    t.datetime :created_at, null: false
    t.string :scopes
    # With this column a refresh token lives until its successor's access token is used.
    t.string :previous_refresh_token, null: false, default: ''
  end
end

settings.fetch('clients').each do |client|
  Doorkeeper::Application.create!(
    name: client['client_id'], uid: client['client_id'], secret: client['client_secret'] || SecureRandom.hex,
    redirect_uri: "http://127.0.0.1/callback\nhttp://127.0.0.1/", scopes: 'public orders write',
    confidential: client.key?('client_secret')
  )
end

# One line for each answer, where the tests count.
use(Class.new do
  def initialize(app)
    @app = app
  end

  def call(env)
    answer = @app.call(env)
    puts "access: #{env['REQUEST_METHOD']} #{env['PATH_INFO']} #{answer[0]}"
    answer
  end
end)
run App
