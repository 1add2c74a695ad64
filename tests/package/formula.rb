# Stands for Homebrew: evaluates a formula, prints what it says as JSON, and, if it is told where, runs its install and its test.
#
# usage: formula.rb FORMULA [SOURCES PREFIX]
#
# It knows the words that a formula of ours uses and no other: whatever is not here is a NoMethodError, as a word that brew does
# not know would be. HOMEBREW is the prefix of a Mac, so that nothing found there is of this machine.
require "json"
require "open3"
require "pathname"
require "tmpdir"

HOMEBREW = Pathname("/opt/homebrew")

class Pathname
  def install_symlink(path)
    mkpath
    (self/path.basename).make_symlink(path)
  end
end

class Service
  attr_reader :said

  def initialize(formula, &block)
    @formula = formula
    @said = {}
    instance_eval(&block)
  end

  def run(*words) = @said[:run] = words.flatten.map(&:to_s)
  def keep_alive(value) = @said[:keep_alive] = value
  def process_type(value) = @said[:process_type] = value
  def error_log_path(path) = @said[:error_log_path] = path.to_s
  def opt_sbin = @formula.opt_prefix/"sbin"
  def var = HOMEBREW/"var"
end

class Formula
  class << self
    attr_reader :said, :service_block, :test_block

    %i[desc homepage url sha256 license].each { |word| define_method(word) { |value| said[word] = value } }

    def inherited(formula)
      super
      formula.instance_variable_set(:@said, { depends_on: [], uses_from_macos: [] })
    end

    def head(url, branch:) = said[:head] = [url, branch]
    def depends_on(what) = said[:depends_on] << (what.is_a?(Hash) ? what.keys.first : what)
    def uses_from_macos(what) = said[:uses_from_macos] << what
    def on_linux = yield
    def service(&block) = @service_block = block
    def test(&block) = @test_block = block
  end

  attr_reader :testpath

  def initialize(prefix) = @prefix = prefix
  def opt_prefix = HOMEBREW/"opt/vmswitch"
  def opt_share = opt_prefix/"share"
  def bin = @prefix/"bin"
  def sbin = @prefix/"sbin"
  def share = @prefix/"share"
  def bash_completion = @prefix/"etc/bash_completion.d"
  def std_cmake_args = ["-DCMAKE_INSTALL_PREFIX=#{@prefix}", "-DCMAKE_INSTALL_LIBDIR=lib", "-DCMAKE_BUILD_TYPE=Release", "-Wno-dev"]

  def system(*words)
    said, status = Open3.capture2e(*words.map(&:to_s))
    raise "#{words.join(" ")}: #{status}\n#{said[-4000..] || said}" unless status.success?
  end

  def shell_output(command)
    said, status = Open3.capture2(command)
    raise "#{command}: #{status}" unless status.success?

    said
  end

  def assert_match(wanted, text)
    raise "no #{wanted} in #{text}" unless text.include?(wanted)
  end

  def run_test
    Dir.mktmpdir do |folder|
      @testpath = Pathname(folder)
      Dir.chdir(folder) { instance_eval(&self.class.test_block) }
    end
    true
  end
end

file, sources, prefix = ARGV
load File.expand_path(file)
formula = Vmswitch.new(Pathname(prefix || HOMEBREW))
said = Vmswitch.said.merge(service: Service.new(formula, &Vmswitch.service_block).said, caveats: formula.caveats)
if sources
  Dir.chdir(sources) { formula.install }
  said[:tested] = formula.run_test
end
puts JSON.generate(said)
