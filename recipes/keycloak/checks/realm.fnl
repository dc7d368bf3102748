;; What Keycloak is for: a realm with an application and a user, who signs on with a password and gets a token that says who she is.
;; All of it, and the key by which applications believe the tokens, is there after the upgrade and after both restores.

(local ci (require :cc-ci))

(local password "only for this run")

(fn token [{: http} of-realm form]
  (. (http.expect (.. "/realms/" of-realm "/protocol/openid-connect/token")
                  {:method :POST : form})
     :json :access_token))

;; The administrator that the recipe makes; abra made the password.
(fn admin [t]
  (let [form {:grant_type :password :client_id :admin-cli :username :admin :password (t.secret :admin_password)}]
    {:authorization (.. "Bearer " (token t :master form))}))

(fn signs-on [t realm]
  (let [form {:grant_type :password :client_id :shed :username :ada : password :scope :openid}
        bearer {:authorization (.. "Bearer " (token t realm form))}]
    (t.http.expect (.. "/realms/" realm "/protocol/openid-connect/userinfo")
                   {:headers bearer :json {:/preferred_username :ada :/email "ada@example.org"}})))

;; Which keys sign the realm's tokens, in order.
(fn keys [{: http} realm]
  (let [answer (http.expect (.. "/realms/" realm "/protocol/openid-connect/certs"))
        ids (icollect [_ key (ipairs answer.json.keys)] key.kid)]
    (table.sort ids)
    (table.concat ids " ")))

(fn seed [t realm]
  (let [http t.http
        user {:username :ada :email "ada@example.org" :emailVerified true :enabled true :firstName "Ada" :lastName "Lovelace"
              :credentials [{:type :password :value password :temporary false}]}
        application {:clientId :shed :publicClient true :directAccessGrantsEnabled true :enabled true}]
    (http.expect "/admin/realms"
                 {:method :POST :headers (admin t) :status 201
                  :send {: realm :enabled true :users [user] :clients [application]}})
    (signs-on t realm)
    {: realm :keys (keys t realm)}))

(fn look [t seeded]
  ;; After a restore its connections to the database are new ones, which may take a moment.
  (t.retry 60 #(signs-on t seeded.realm))
  (let [now (keys t seeded.realm)]
    (assert (= now seeded.keys) (.. "the realm's keys were " seeded.keys " and are " now)))
  true)

;; Two realms: where only the upgrade is asked for, `install` comes to the app that was seeded at `base`.
(ci.job :base-seed [:base] #(seed $ :orchard))
(ci.job :kept-over-upgrade [:upgrade :base-seed]
  (fn [t]
    (look t (t.jobs :base-seed))
    ;; The administrator too.
    (t.http.expect "/admin/realms/orchard/users?username=ada" {:headers (admin t) :json {:/0/username :ada}})
    true))

(ci.job :seed [:install] #(seed $ :garden))
(ci.job :damage [:backup :seed]
  (fn [t]
    (t.http.expect :/admin/realms/garden {:method :DELETE :headers (admin t) :status 204})
    (t.http.expect :/realms/garden {:status 404})
    true))
;; Keycloak keeps realms in memory, the absent ones too, so a restore under its feet shows in the database alone.
(ci.job :kept-in-place [:in-place :damage]
  (fn [t]
    (let [rows (t.sql.query :db "select u.username from user_entity u join realm r on r.id = u.realm_id where r.name = 'garden'")]
      (assert (and (= (length rows) 1) (= (. rows 1 :username) :ada))
              "the realm and its user are not in the database that was restored in place"))
    true))
(ci.job :kept-afresh [:restore :seed] (fn [t] (look t (t.jobs :seed))))
