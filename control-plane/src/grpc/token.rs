//! `TokenService`.

use remora_proto::{
    control::v1::{
        CreateKeyRequest, CreateKeyResponse, ListKeysRequest, ListKeysResponse, ListTokensRequest, ListTokensResponse,
        MintTokenRequest, MintTokenResponse, RevokeKeyRequest, RevokeKeyResponse, RevokeTokenRequest,
        RevokeTokenResponse, token_service_server::TokenService,
    },
    convert::control::role,
};
use tonic::{Request, Response, Status};

use super::{caller, refused};
use crate::{auth::tokens::Asked, control::Control};

pub(super) struct Tokens(pub(super) Control);

#[tonic::async_trait]
impl TokenService for Tokens {
    async fn mint(&self, request: Request<MintTokenRequest>) -> Result<Response<MintTokenResponse>, Status> {
        let caller = caller(&request)?;
        let MintTokenRequest { project, verbs, path_prefix, containers, ttl_seconds, subject } = request.into_inner();
        let asked = Asked { verbs, path_prefix, containers, ttl_seconds, subject };
        let (token, secret) = self.0.mint(&caller, &project, asked).await.map_err(refused)?;
        Ok(Response::new(MintTokenResponse { token: secret, expires_ms: token.expires_ms, token_id: token.id }))
    }

    async fn list_tokens(&self, request: Request<ListTokensRequest>) -> Result<Response<ListTokensResponse>, Status> {
        let tokens = self.0.list_tokens(&caller(&request)?, &request.get_ref().project).await.map_err(refused)?;
        Ok(Response::new(ListTokensResponse { tokens: tokens.into_iter().map(Into::into).collect() }))
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        let caller = caller(&request)?;
        let RevokeTokenRequest { project, id } = request.into_inner();
        self.0.revoke_token(&caller, &project, &id).await.map_err(refused)?;
        Ok(Response::new(RevokeTokenResponse {}))
    }

    async fn create_key(&self, request: Request<CreateKeyRequest>) -> Result<Response<CreateKeyResponse>, Status> {
        let caller = caller(&request)?;
        let CreateKeyRequest { name, role: number, projects } = request.into_inner();
        let role = role(number).map_err(refused)?;
        let (key, secret) = self.0.create_key(&caller, &name, role, &projects).await.map_err(refused)?;
        Ok(Response::new(CreateKeyResponse { key: Some(key.into()), secret }))
    }

    async fn list_keys(&self, request: Request<ListKeysRequest>) -> Result<Response<ListKeysResponse>, Status> {
        let keys = self.0.list_keys(&caller(&request)?).map_err(refused)?;
        Ok(Response::new(ListKeysResponse { keys: keys.into_iter().map(Into::into).collect() }))
    }

    async fn revoke_key(&self, request: Request<RevokeKeyRequest>) -> Result<Response<RevokeKeyResponse>, Status> {
        let caller = caller(&request)?;
        self.0.revoke_key(&caller, &request.into_inner().id).await.map_err(refused)?;
        Ok(Response::new(RevokeKeyResponse {}))
    }
}
